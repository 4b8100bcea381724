"""A layer that reads channels, as what it is to least squares: a matrix that takes rows of columns to outputs."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn
from torch.nn import functional as F

from coppice.core.errors import CoppiceError

Conv = nn.modules.conv._ConvNd
Transposed = nn.modules.conv._ConvTransposeNd
Rows = Float64[Tensor, "groups rows columns"]
Columns = Float[Tensor, "groups columns outputs"]

MOST_NUMBERS = 2**23  # in the rows that exist at a time: 64 MiB


def is_reader(module: nn.Module) -> bool:
    """Say whether a module's output is a stored matrix times patches of its input.

    Examples
    --------
    >>> is_reader(nn.Conv2d(1, 2, 3)), is_reader(nn.GRU(2, 3)), is_reader(nn.ReLU())
    (True, False, False)
    """
    return isinstance(module, Conv | nn.Linear)


def is_followed(module: nn.Module) -> bool:
    """Say whether what a module makes of its input, inside a recurrent one too, begins with a stored matrix.

    Examples
    --------
    >>> is_followed(nn.Conv2d(1, 2, 3)), is_followed(nn.GRU(2, 3)), is_followed(nn.ReLU())
    (True, True, False)
    """
    return is_reader(module) or isinstance(module, nn.RNNBase)


def groups_of(module: nn.Module) -> int:
    """Return how many separate matrices a layer has: the groups of a convolution, 1 for a linear layer.

    Examples
    --------
    >>> groups_of(nn.Conv1d(4, 8, 3, groups=2)), groups_of(nn.Linear(3, 2))
    (2, 1)
    """
    return module.groups if isinstance(module, Conv) else 1


def to_columns(module: nn.Module, weight: Tensor) -> Columns:
    """Return a layer's weight as one matrix per group; the taps of a channel are neighbouring columns.

    Examples
    --------
    >>> layer = nn.Conv1d(4, 6, 3, groups=2)
    >>> to_columns(layer, layer.weight).shape
    torch.Size([2, 6, 3])
    """
    groups = groups_of(module)
    if isinstance(module, Transposed):  # (channels, outputs of a group, *kernel)
        split = weight.reshape(groups, -1, *weight.shape[1:]).flatten(3) if weight.ndim > 2 else weight
        return split.movedim(2, 3).flatten(1, 2)
    return weight.reshape(groups, weight.shape[0] // groups, -1).transpose(1, 2)


def columns_of(module: nn.Module, weight: Tensor) -> int:
    """Return how many numbers each output of a convolution, linear or recurrent layer is made from.

    Examples
    --------
    >>> layer = nn.Conv2d(4, 6, 3, groups=2)
    >>> columns_of(layer, layer.weight)
    18
    """
    return to_columns(module, weight).shape[1] if is_reader(module) else weight.shape[1]


def input_of(layer: str, given: tuple[Any, ...], named: Mapping[str, Any]) -> Tensor:
    """Return what a layer was called with.

    Raises
    ------
    CoppiceError
        If it is no tensor, such as a packed sequence.

    Examples
    --------
    >>> input_of("rnn", (torch.zeros(2, 3),), {}).shape
    torch.Size([2, 3])
    """
    read = given[0] if given else next(iter(named.values()))
    if not isinstance(read, Tensor):
        raise CoppiceError(f"layer {layer!r} reads a {type(read).__name__}; only tensors can be looked into.")
    return read


def from_columns(module: nn.Module, matrix: Columns, shape: torch.Size) -> Tensor:
    """Return the weight of a given shape whose matrices these are: what :func:`to_columns` undoes.

    Examples
    --------
    >>> layer = nn.ConvTranspose2d(4, 6, (2, 3), groups=2)
    >>> torch.equal(from_columns(layer, to_columns(layer, layer.weight), layer.weight.shape), layer.weight)
    True
    """
    if isinstance(module, Transposed):
        groups, _, outputs = matrix.shape
        taps = math.prod(shape[2:])
        return matrix.reshape(groups, shape[0] // groups, taps, outputs).movedim(3, 2).reshape(shape)
    return matrix.transpose(1, 2).reshape(shape)


def rows_and_targets(
    module: nn.Module, given: Float[Tensor, "clips *input"], made: Float[Tensor, "clips *output"]
) -> Iterator[tuple[Rows, Float64[Tensor, "groups rows outputs"]]]:
    """Cut what a layer reads into rows, beside what is to come of each: ``rows @ to_columns(weight) + bias == made``.

    Parameters
    ----------
    module : Conv1d, Conv2d, Conv3d, ConvTranspose…, or Linear
        Only its geometry is looked at.
    given : Tensor
        An input, batched.
    made : Tensor
        What the layer should make of it.

    Yields
    ------
    rows, targets : Tensor of float64
        A piece of both at a time, so that memory does not grow with the number of positions.

    Examples
    --------
    >>> layer, x = nn.Conv1d(2, 3, 5, padding=2, padding_mode="reflect").double(), torch.randn(4, 2, 9).double()
    >>> rows, targets = next(rows_and_targets(layer, x, layer(x)))
    >>> torch.allclose(rows @ to_columns(layer, layer.weight) + layer.bias, targets)
    True
    """
    groups = groups_of(module)
    if not isinstance(module, Conv):
        flat, wanted = given.reshape(-1, given.shape[-1]), made.reshape(-1, made.shape[-1])
        size = max(1, MOST_NUMBERS // flat.shape[1])
        for some, those in zip(flat.split(size), wanted.split(size), strict=True):
            yield some.double()[None], those.double()[None]
        return
    spatial = len(module.kernel_size)
    taps = math.prod(module.kernel_size)
    windows = _windows(module, given)  # (clips, channels, *positions, *kernel)
    per_line = windows.shape[1] * taps * math.prod(windows.shape[3 : 2 + spatial])
    lines = min(windows.shape[2], max(1, MOST_NUMBERS // per_line))
    clips = max(1, MOST_NUMBERS // (per_line * lines))
    for first in range(0, len(windows), clips):
        for line in range(0, windows.shape[2], lines):
            piece = windows[first : first + clips, :, line : line + lines].double()
            if isinstance(module, Transposed):
                piece = piece.flip(tuple(range(-spatial, 0)))
            piece = piece.unflatten(1, (groups, -1)).flatten(-spatial)  # (clips, groups, channels, *positions, taps)
            rows = piece.movedim(2, -2).movedim(1, 0).flatten(-2).flatten(1, -2)
            wanted = made[first : first + clips, :, line : line + lines].double().unflatten(1, (groups, -1))
            yield rows, wanted.movedim(2, -1).movedim(1, 0).flatten(1, -2)


def _windows(module: Any, given: Float[Tensor, "clips *input"]) -> Float[Tensor, "clips channels *positions_and_taps"]:
    """Return what stands under the kernel at every position of the output, as a view."""
    stride: tuple[int, ...] = module.stride
    if isinstance(module, Transposed):  # a convolution, by the flipped kernel, of the input with zeros between
        sides: list[int] = []
        stuffed = given
        geometry: Any = (module.kernel_size, module.stride, module.dilation, module.padding, module.output_padding)
        for axis, (size, pace, gap, padding, extra) in enumerate(zip(*geometry, strict=True), start=2):
            shape = list(stuffed.shape)
            shape[axis] = (shape[axis] - 1) * pace + 1
            wide = stuffed.new_zeros(shape)
            wide.movedim(axis, 0)[::pace] = stuffed.movedim(axis, 0)
            stuffed = wide
            reach = gap * (size - 1) - padding
            sides = [reach, reach + extra, *sides]
        padded, stride = F.pad(stuffed, sides), (1,) * len(module.kernel_size)
    else:
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        padded = F.pad(given, module._reversed_padding_repeated_twice, mode=mode)
    for axis, (size, pace, gap) in enumerate(zip(module.kernel_size, stride, module.dilation, strict=True), start=2):
        padded = padded.unfold(axis, gap * (size - 1) + 1, pace)
        padded = padded[..., ::gap] if gap > 1 else padded
    return padded
