"""The C of a Winograd convolution, compiled for this machine and for the shape of the layer."""

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from coppice.core.errors import CoppiceError
from coppice.native.library import ADDRESS, Library
from coppice.native.toolchain import FLAGS, shared_library
from coppice.training.winograd.transforms import OUTPUTS, TAPS, Transforms, transforms

_LINE = 64
_MOST_TILES = 25  # side by side: with more, the points of a row of tiles leave the second cache
# Vectors are passed between inlined functions alone, and NaN is asked for by comparing, not by flags.
_FLAGS = (*FLAGS, "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi")
_DECLARATIONS = f"""
int64_t memory_bytes(void);
void convolve(int threads, {ADDRESS} x, {ADDRESS} weights, {ADDRESS} bias, {ADDRESS} y, {ADDRESS} memory,
              int64_t images, int64_t height, int64_t width);
void weigh(int threads, {ADDRESS} x, {ADDRESS} slopes, {ADDRESS} sums, {ADDRESS} bias_sums, {ADDRESS} memory,
           int64_t images, int64_t height, int64_t width);
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
        self.lanes = lanes()
        self.transforms = transforms(shape.taps)
        self._code = Library(shared_library(_sources(shape, self.lanes), flags=_FLAGS), _DECLARATIONS).functions
        self._memory_bytes = int(self._code.memory_bytes())

    @property
    def padded(self) -> int:
        """Filters up to whole vectors."""
        return -(-self.shape.filters // self.lanes) * self.lanes

    def convolve(
        self,
        x: Float[Tensor, "images channels bands frames"],
        weight: Float32[Tensor, "filters channels taps taps"],
        bias: Float32[Tensor, " filters"] | None,
    ) -> Float[Tensor, "images filters bands frames"]:
        """Return the convolution with zeros around; numbers lie channels last, in and out."""
        images, _, height, width = x.shape
        given = torch.zeros(self.padded)
        if bias is not None:
            given[: self.shape.filters] = bias
        points = self._points(weight)
        y = torch.empty((images, self.shape.filters, height, width), dtype=x.dtype, memory_format=torch.channels_last)
        threads = torch.get_num_threads()
        memory = _aligned(threads * self._memory_bytes)
        places = [one.data_ptr() for one in (x, points, given, y, memory)]
        self._code.convolve(threads, *places, images, height, width)
        return y

    def weigh(
        self, x: Float[Tensor, "images channels bands frames"], slopes: Float[Tensor, "images filters bands frames"]
    ) -> tuple[Float32[Tensor, "filters channels taps taps"], Float32[Tensor, " filters"]]:
        """Return the gradients of weight and bias."""
        images, channels, height, width = x.shape
        filters, size = self.shape.filters, self.transforms.points
        threads = torch.get_num_threads()
        sums = torch.zeros(threads, size, size, channels, self.padded)
        bias = torch.zeros(threads, self.padded)
        memory = _aligned(threads * self._memory_bytes)
        places = [one.data_ptr() for one in (x, slopes, sums, bias, memory)]
        self._code.weigh(threads, *places, images, height, width)
        back = torch.from_numpy(self.transforms.weights)
        weight = torch.einsum("pi,pqcf,qj->fcij", back, sums.sum(0, dtype=torch.float64), back)[:filters]
        return weight.float(), bias.sum(0)[:filters]

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


@lru_cache(maxsize=1)
def compiles() -> bool:
    """Say whether this machine has a C compiler whose libraries use PyTorch's threads; tried once in a process."""
    try:
        kernels(Shape(1, 1, min(TAPS), 1, half=False))
    except CoppiceError:
        return False
    return True


def lanes() -> int:
    """Return how many float32 numbers a vector of this processor holds, as far as PyTorch uses it; at least 8."""
    return 16 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 8


def _sources(shape: Shape, vector: int) -> dict[str, str]:
    said = {
        "CHANNELS_IN": shape.channels,
        "CHANNELS_OUT": shape.filters,
        "LANES": vector,
        "TILES": shape.tiles,
        "HALF": int(shape.half),
    }
    code = files(__package__).joinpath("convolution.c").read_text(encoding="utf-8")
    head = "".join(f"#define {name} {value}\n" for name, value in said.items())
    return {"convolution.c": head + code, "transforms.h": _coefficients(transforms(shape.taps), shape.taps)}


def _coefficients(by: Transforms, taps: int) -> str:
    """Write what the rows of the matrices do not share: of a pair of points, the values before the sign."""
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


def _aligned(size: int) -> Tensor:
    """Return so many bytes that begin where a line of the cache does."""
    memory = torch.empty(size + _LINE, dtype=torch.uint8)
    return memory[-memory.data_ptr() % _LINE :][:size]
