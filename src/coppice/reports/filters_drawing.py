"""The filters of a layer as small tiles: kernels as one PNG, kept and removed as an SVG laid over it."""

import base64
import struct
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8

from coppice.reports.layer_filters import LayerFilters
from coppice.reports.run_records import RunRecord

MOST_TILES = 512
COLUMNS = 16

# Brown below zero, paper at zero, green above: the page's own diverging colours, dark enough at both ends.
_BELOW = np.array([184, 86, 11], dtype=np.float64)
_ABOVE = np.array([11, 110, 79], dtype=np.float64)
_ZERO = np.array([255, 255, 255], dtype=np.float64)


@dataclass(frozen=True)
class LayerDrawing:
    """The kernels of one layer, drawn once and shared by all systems.

    Attributes
    ----------
    image : str
        PNG as a data URI: ``columns`` × ``rows`` tiles without gaps, one pixel per weight.
    tile_height : float
        Height of a tile where its width is 1.
    """

    name: str
    filters: int
    shown: int
    columns: int
    rows: int
    tile_height: float
    image: str


def draw_layer(layer: LayerFilters) -> LayerDrawing:
    """Draw the kernels of a layer; the colour scale is shared by the whole layer.

    Parameters
    ----------
    layer : LayerFilters
        A layer with more than 512 filters is drawn up to there.
    """
    kernels = layer.kernels[:MOST_TILES]
    shown, height, width = kernels.shape
    columns = min(COLUMNS, shown)
    rows = -(-shown // columns)
    scale = float(torch.quantile(kernels.abs().flatten()[:1_000_000], 0.99)) or 1.0
    tiles = np.zeros((rows * columns, height, width))
    tiles[:shown] = (kernels / scale).clamp(-1, 1).numpy()
    grid = tiles.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)
    return LayerDrawing(
        name=layer.name,
        filters=layer.filters,
        shown=shown,
        columns=columns,
        rows=rows,
        tile_height=min(max(height / width, 0.35), 3.0),
        image="data:image/png;base64," + base64.b64encode(png(_colours(grid))).decode(),
    )


@dataclass(frozen=True)
class Overlay:
    """What lies over a layer's drawing for one system, as SVG path data in units of one tile."""

    removed: str
    crosses: str
    grid: str


def overlay(drawing: LayerDrawing, kept: Collection[int]) -> Overlay:
    """Return the paths that dim and cross out the removed filters.

    Parameters
    ----------
    drawing : LayerDrawing
        Of the layer.
    kept : collection of int
        Filters that stay, by index.
    """
    inside, height = set(kept), drawing.tile_height
    removed, crosses, grid = [], [], []
    for index in range(drawing.shown):
        x, y = index % drawing.columns, round(index // drawing.columns * height, 3)
        box = f"M{x} {y:g}h1v{height:.3g}h-1z"
        grid.append(box)
        if index not in inside:
            removed.append(box)
            dy = 0.4 * height
            top = round(y + 0.3 * height, 3)
            crosses.append(f"M{x + 0.3:.3g} {top:g}l.4 {dy:.3g}m0 -{dy:.3g}l-.4 {dy:.3g}")
    return Overlay("".join(removed), "".join(crosses), "".join(grid))


def kept_filters(run: RunRecord, system: str) -> Mapping[str, tuple[int, ...]]:
    """Return the filters a system keeps in each layer it cut, by index into the unpruned layer.

    Plans that follow each other speak of the network as the one before left it; here they are composed.
    """
    kept: dict[str, tuple[int, ...]] = {}
    for stage in run.of_system(system):
        for name, layer in (stage.plan.each_layer() if stage.plan else {}).items():
            before = kept.get(name, tuple(range(layer.filters)))
            kept[name] = tuple(before[index] for index in layer.keep if 0 <= index < len(before))
    return kept


def png(pixels: UInt8[np.ndarray, "height width 3"]) -> bytes:
    r"""Encode 8-bit RGB pixels as PNG (ISO/IEC 15948), without a filter.

    Examples
    --------
    >>> png(np.zeros((1, 1, 3), dtype=np.uint8))[:4]
    b'\x89PNG'
    """
    height, width, _ = pixels.shape
    lines = b"".join(b"\0" + row.tobytes() for row in np.ascontiguousarray(pixels))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def _colours(values: np.ndarray) -> UInt8[np.ndarray, "height width 3"]:
    strength = np.abs(values)[..., None]
    end = np.where(values[..., None] < 0, _BELOW, _ABOVE)
    return (_ZERO + strength * (end - _ZERO)).round().astype(np.uint8)
