"""The C of a Winograd convolution, compiled for this machine and for the shape of the layer."""

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from coppice.native.library import ADDRESS
from coppice.native.tensors import aligned_memory, lanes, tensor_library
from coppice.training.winograd.transforms import OUTPUTS, Transforms, transforms

_MOST_TILES = 25  # side by side: with more, the points of a row of tiles leave the second cache
_DECLARATIONS = f"""
int64_t memory_bytes(void);
void convolve(int threads, {ADDRESS} x, {ADDRESS} weights, {ADDRESS} bias, {ADDRESS} y, {ADDRESS} memory,
              int64_t images, int64_t height, int64_t width);
void weigh(int threads, {ADDRESS} x, {ADDRESS} slopes, {ADDRESS} sums, {ADDRESS} memory, int64_t images,
           int64_t height, int64_t width);
"""


@dataclass(frozen=True)
class Shape:
    """All that the machine code of a layer depends on.

    Attributes
    ----------
    channels, filters : int
    taps : int
        Rows and columns of the kernel.
    tiles : int
        Side by side, done at once.
    half : bool
        Whether numbers are bfloat16 in place of float32.
    """

    channels: int
    filters: int
    taps: int
    tiles: int
    half: bool


def tiles_of(width: int) -> int:
    """Return how many tiles are done at once, so that few lie beyond the end of a row.

    Examples
    --------
    >>> tiles_of(500), tiles_of(51), tiles_of(125)
    (25, 13, 16)
    """
    all_of_them = -(-width // OUTPUTS)
    rows = -(-all_of_them // _MOST_TILES)
    return -(-all_of_them // rows)


class Kernels:
    """The machine code of one shape of layer.

    Parameters
    ----------
    shape : Shape

    Raises
    ------
    CoppiceError
        If there is no C compiler, or its library cannot use PyTorch's threads.
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.transforms = transforms(shape.taps)
        code = files(__package__).joinpath("convolution.c").read_text(encoding="utf-8")
        library = tensor_library(
            {"convolution.c": code, "transforms.h": coefficients(self.transforms, shape.taps)},
            _DECLARATIONS,
            half=shape.half,
            CHANNELS_IN=shape.channels,
            CHANNELS_OUT=shape.filters,
            TILES=shape.tiles,
        )
        self._code = library.functions
        self._memory_bytes = int(self._code.memory_bytes())

    @property
    def padded(self) -> int:
        """Filters up to whole vectors."""
        return -(-self.shape.filters // lanes()) * lanes()

    def convolve(
        self,
        x: Float[Tensor, "images channels bands frames"],
        weight: Float32[Tensor, "filters channels taps taps"],
        bias: Float32[Tensor, " filters"] | None,
    ) -> Float[Tensor, "images filters bands frames"]:
        """Return the convolution with zeros around; numbers lie channels last, in and out."""
        images, _, height, width = x.shape
        given = weight.new_zeros(self.padded)
        if bias is not None:
            given[: self.shape.filters] = bias
        points = self._points(weight)
        y = torch.empty(
            (images, self.shape.filters, height, width),
            dtype=x.dtype,
            device=x.device,
            memory_format=torch.channels_last,
        )
        threads = torch.get_num_threads()
        memory = aligned_memory(threads * self._memory_bytes)
        places = [one.data_ptr() for one in (x, points, given, y, memory)]
        self._code.convolve(threads, *places, images, height, width)
        return y

    def weigh(
        self, x: Float[Tensor, "images channels bands frames"], slopes: Float[Tensor, "images filters bands frames"]
    ) -> tuple[Float32[Tensor, "filters channels taps taps"], Float32[Tensor, " filters"]]:
        """Return the gradients of weight and bias."""
        images, channels, height, width = x.shape
        filters, size = self.shape.filters, self.transforms.points
        threads, weights = torch.get_num_threads(), size * size * channels * self.padded
        sums = x.new_zeros(threads, weights + self.padded, dtype=torch.float64)
        memory = aligned_memory(threads * self._memory_bytes)
        places = [one.data_ptr() for one in (x, slopes, sums, memory)]
        self._code.weigh(threads, *places, images, height, width)
        of_points, of_bias = sums.sum(0).split([weights, self.padded])
        back = torch.from_numpy(self.transforms.weights)
        of_weight = torch.einsum("pi,pqcf,qj->fcij", back, of_points.view(size, size, channels, -1), back)
        return of_weight[:filters].float(), of_bias[:filters].float()

    def _points(self, weight: Float32[Tensor, "filters channels taps taps"]) -> Float32[Tensor, "points points c f"]:
        to = torch.from_numpy(self.transforms.weights)
        points = torch.einsum("pi,fcij,qj->pqcf", to, weight.double(), to).float()
        return torch.nn.functional.pad(points, (0, self.padded - self.shape.filters)).contiguous()


@lru_cache(maxsize=256)
def kernels(shape: Shape) -> Kernels:
    """Return the machine code of a shape, compiled once.

    Raises
    ------
    CoppiceError
        If there is no C compiler, or its library cannot use PyTorch's threads.
    """
    return Kernels(shape)


def coefficients(by: Transforms, taps: int) -> str:
    """Return ``transforms.h``: what the rows of the matrices do not share, of a pair of points once."""
    first = slice(1, by.points - 1, 2)
    tables = {
        "AT_ZERO": by.inputs[0, 0::2],
        "AT_INFINITY": by.inputs[-1, 1::2],
        "EVEN": by.inputs[first, 2::2],
        "ODD": by.inputs[first, 1:-1:2],
        "POWER": by.outputs[:, first],
    }
    sizes = {"TAPS": taps, "OUTPUTS": OUTPUTS, "POINTS": by.points, "PAIRS": by.points // 2 - 1}
    lines = [f"enum {{ {', '.join(f'{name} = {size}' for name, size in sizes.items())} }};"]
    for name, values in tables.items():
        shape = "".join(f"[{size}]" for size in values.shape)
        lines.append(f"static const float {name}{shape} = {_braces(values)};")
    return "\n".join(lines) + "\n"


def _braces(values: np.ndarray) -> str:
    if values.ndim == 0:
        return f"{float(values)!r}f"
    return "{" + ", ".join(map(_braces, values)) + "}"
