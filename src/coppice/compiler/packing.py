"""Constants in the order in which the C reads them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from coppice.compiler.integers import Whole, merged_groups
from coppice.compiler.planned import Planned
from coppice.compiler.steps import Convolution, Dense, Scale, Step

UNITS = 16  # of a dense layer, side by side


def constants(planned: Planned) -> list[tuple[str, str, np.ndarray]]:
    """Return all constants of a program: what each is, of which step, and its numbers in order.

    Parameters
    ----------
    planned : Planned

    Returns
    -------
    list of (str, str, ndarray)
        Of one axis, of float32, int32 or int8.

    Examples
    --------
    >>> from coppice.compiler.planned import planned
    >>> from coppice.compiler.programs import network_program
    >>> from coppice.networks.dcase2021 import DCASE2021
    >>> program = network_program(DCASE2021(frames=50), (1, 40, 50))
    >>> [(kind, step, len(numbers)) for kind, step, numbers in constants(planned(program))][:3]
    [('weight', 'conv1', 784), ('bias', 'conv1', 16), ('weight', 'conv2', 12544)]
    """
    return [(kind, step.name, numbers) for step in planned.program.steps for kind, numbers in _of(planned, step)]


def _of(planned: Planned, step: Step) -> list[tuple[str, np.ndarray]]:
    if step.name in planned.wholes:
        return _whole(planned, step, planned.wholes[step.name])
    found: list[tuple[str, Any]] = []
    if isinstance(step, Scale):
        found = [("factor", step.factor), ("offset", step.offset)]
    elif isinstance(step, Dense):
        in_order = by_units(step.weight) if planned.target == "simd" else step.weight
        found = [("weight", in_order), ("bias", _filled(step.bias))]
    elif isinstance(step, Convolution):
        geometry = planned.geometries.get(step.name)
        in_order = (
            step.weight
            if geometry is None
            else in_parts(step.weight, step.groups, [size for tile in geometry.tiles for _, size, _ in tile.few_parts])
        )
        found = [("weight", in_order), ("bias", step.bias)]
    return [(kind, numbers.astype(np.float32).ravel()) for kind, numbers in found]


def _whole(planned: Planned, step: Step, numbers: Whole) -> list[tuple[str, np.ndarray]]:
    # Bytes are multiplied as they are: what their zero adds is taken off once for all. Of sums of (byte - 128) * weight
    # GCC 12 makes wrong code: it takes the differences, which fit 8 bits, for bytes without sign.
    sums = numbers.weight.reshape(len(numbers.bias), -1).astype(np.int64).sum(axis=1)
    bias, scale = (numbers.bias - numbers.read.zero * sums).astype(np.int32), numbers.scale
    rescaling = None if numbers.to is None else numbers.to.rows()
    weight: np.ndarray = numbers.weight.ravel()
    geometry = planned.geometries.get(step.name)
    if geometry is not None and isinstance(step, Convolution):
        merged, groups = merged_groups(step, numbers.weight)
        if geometry.folded:
            merged = _side_by_side(merged)
        rows = sum(tile.filters for tile in geometry.tiles)
        weight = in_parts(_in_cells(merged, groups, rows), groups, [tile.filters for tile in geometry.tiles])
        bias, scale = _by_group(bias, groups, rows, 1), _by_group(scale, groups, rows, 1)
        rescaling = None if rescaling is None else _by_group(rescaling, groups, rows, 4)
    found = [("weight", weight), ("bias", bias)]
    if rescaling is not None:
        found.append(("to", rescaling))
    needs_scale = rescaling is None or step.activation.kind != "clip"
    return [*found, ("scale", scale)] if needs_scale else found


def in_parts(weight: np.ndarray, groups: int, sizes: Sequence[int]) -> np.ndarray:
    """Return the weights of a convolution part after part; in each, tap after tap, filters side by side.

    What the processor computes with at a time then lies together: its cache of the first level is small.

    Parameters
    ----------
    weight : ndarray (filters, channels, height, width)
    groups : int
    sizes : sequence of int
        Filters of each part of a group.

    Examples
    --------
    >>> in_parts(np.arange(6.0).reshape(3, 1, 1, 2), 1, (2, 1))
    array([0., 2., 1., 3., 4., 5.])
    """
    found = []
    for group in np.split(weight.reshape(len(weight), -1), groups):
        ends = np.cumsum(sizes)
        found += [group[end - size : end].T.ravel() for size, end in zip(sizes, ends, strict=True)]
    return np.concatenate(found)


def by_units(weight: np.ndarray) -> np.ndarray:
    """Return the weights of a dense layer for 16 units after 16; in these, units side by side for each number."""
    rows = -(-len(weight) // UNITS) * UNITS
    whole = np.zeros((rows, weight.shape[1]), weight.dtype)
    whole[: len(weight)] = weight
    return whole.reshape(-1, UNITS, weight.shape[1]).transpose(0, 2, 1)


def _in_cells(weight: np.ndarray, groups: int, rows: int) -> np.ndarray:
    """Return weights of int8 with four channels in each number of int32, and filters of nothing where there are few."""
    filters, channels, *kernel = weight.shape
    cells = -(-channels // 4)
    filled = np.zeros((groups, rows, 4 * cells, *kernel), np.int8)
    filled[:, : filters // groups, :channels] = weight.reshape(groups, -1, channels, *kernel)
    four = filled.reshape(groups * rows, cells, 4, *kernel).transpose(0, 1, 3, 4, 2)
    return np.ascontiguousarray(four).view("<i4")[..., 0].astype(np.int32)


def _side_by_side(weight: np.ndarray) -> np.ndarray:
    """Return the weights of a single channel with four neighbouring frames as if they were four channels."""
    filters, _, high, wide = weight.shape
    filled = np.zeros((filters, high, -(-wide // 4) * 4), weight.dtype)
    filled[:, :, :wide] = weight[:, 0]
    return filled.reshape(filters, high, -1, 4).transpose(0, 3, 1, 2)


def _by_group(values: np.ndarray, groups: int, rows: int, each: int) -> np.ndarray:
    """Fill the filters of each group up to whole tiles."""
    filled = np.zeros((groups, rows * each), values.dtype)
    filled[:, : values.size // groups] = values.reshape(groups, -1)
    if each > 1:
        filled.reshape(groups, rows, each)[:, values.size // groups // each :, 3] = 1
    return filled.ravel()


def _filled(bias: np.ndarray) -> np.ndarray:
    return np.pad(bias, (0, -len(bias) % UNITS))
