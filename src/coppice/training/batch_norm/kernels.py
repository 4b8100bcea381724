"""The C of batch normalisation, compiled for this machine and for a number of channels."""

from functools import lru_cache
from importlib.resources import files

import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from coppice.native.library import ADDRESS
from coppice.native.tensors import tensor_library

_DECLARATIONS = f"""
int round_size(void);
void sum(int threads, {ADDRESS} x, {ADDRESS} about, {ADDRESS} sums, int64_t count);
void sum_slopes(int threads, {ADDRESS} x, {ADDRESS} slopes, {ADDRESS} about, {ADDRESS} sums, int64_t count);
void normalise(int threads, {ADDRESS} x, {ADDRESS} factor, {ADDRESS} offset, {ADDRESS} y, int64_t count);
void slope(int threads, {ADDRESS} x, {ADDRESS} slopes, {ADDRESS} by_slope, {ADDRESS} by_number, {ADDRESS} offset,
           {ADDRESS} y, int64_t count);
"""
Images = Float[Tensor, "images channels bands frames"]
PerChannel = Float64[Tensor, " channels"]


class Kernels:
    """Passes over images that lie channels last, with PyTorch's threads.

    Parameters
    ----------
    channels : int
    half : bool
        Whether numbers are bfloat16 in place of float32. Sums are float64, all else is float32.

    Raises
    ------
    CoppiceError
        If there is no C compiler, or its library cannot use PyTorch's threads.
    """

    def __init__(self, channels: int, *, half: bool) -> None:
        code = files(__package__).joinpath("batch_norm.c").read_text(encoding="utf-8")
        self._code = tensor_library({"batch_norm.c": code}, _DECLARATIONS, half=half, CHANNELS=channels).functions
        self._places = int(self._code.round_size()) // channels

    def moments(self, x: Images, about: Float32[Tensor, " channels"]) -> tuple[PerChannel, PerChannel]:
        """Return the sums of x - about and of its square."""
        sums = self._sums(x)
        self._call("sum", x, self._round(about), sums)
        return self._of_all(sums)

    def slope_sums(
        self, x: Images, slopes: Images, about: Float32[Tensor, " channels"]
    ) -> tuple[PerChannel, PerChannel]:
        """Return the sums of slopes and of slopes times x - about."""
        sums = self._sums(x)
        self._call("sum_slopes", x, slopes, self._round(about), sums)
        return self._of_all(sums)

    def normalise(self, x: Images, factor: PerChannel, offset: PerChannel) -> Images:
        """Return factor * x + offset."""
        y = torch.empty_like(x)
        self._call("normalise", x, self._round(factor), self._round(offset), y)
        return y

    def slope(
        self, x: Images, slopes: Images, by_slope: PerChannel, by_number: PerChannel, offset: PerChannel
    ) -> Images:
        """Return by_slope * slopes + by_number * x + offset."""
        y = torch.empty_like(x)
        self._call("slope", x, slopes, *map(self._round, (by_slope, by_number, offset)), y)
        return y

    def _call(self, name: str, x: Images, *more: Tensor) -> None:
        # The tensors live as long as this call does: C knows where they are and nothing else.
        places = [one.data_ptr() for one in (x, *more)]
        getattr(self._code, name)(torch.get_num_threads(), *places, x.numel())

    def _round(self, values: Float[Tensor, " channels"]) -> Float32[Tensor, " round"]:
        return values.float().repeat(self._places)

    def _sums(self, x: Images) -> Float64[Tensor, "threads two places channels"]:
        return x.new_zeros(torch.get_num_threads(), 2, self._places, x.shape[1], dtype=torch.float64)

    def _of_all(self, sums: Float64[Tensor, "threads two places channels"]) -> tuple[PerChannel, PerChannel]:
        first, second = sums.sum((0, 2))
        return first, second


@lru_cache(maxsize=256)
def kernels(channels: int, *, half: bool) -> Kernels:
    """Return the machine code for a number of channels, compiled once.

    Raises
    ------
    CoppiceError
        If there is no C compiler, or its library cannot use PyTorch's threads.
    """
    return Kernels(channels, half=half)
