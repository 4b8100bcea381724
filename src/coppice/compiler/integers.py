"""From numbers that were rounded to bytes: which steps compute in whole numbers, and with which."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int8, Int32

from coppice.compiler.steps import Combine, Convolution, Dense, Grid, Narrow, Pool, Program, Scale, Step, Widen
from coppice.core.errors import CoppiceError

_BITS = 15  # of a sum once it is shortened, and of what it is multiplied by: their product fits 31
_MOST = 2**31 - 1


@dataclass(frozen=True, eq=False)
class Rescaling:
    """Multiplication of sums by a ratio, in whole numbers of 32 bits: for each filter one.

    ``total`` is cut to ``limit``, beyond which every result is cut anyway, shortened by ``before`` bits, multiplied by
    ``factor`` and shortened by ``after`` bits; halves are rounded up.

    Attributes
    ----------
    limit, before, factor, after : ndarray of int32, shape (filters,)
    """

    limit: Int32[np.ndarray, " filters"]
    before: Int32[np.ndarray, " filters"]
    factor: Int32[np.ndarray, " filters"]
    after: Int32[np.ndarray, " filters"]

    def rows(self) -> Int32[np.ndarray, " numbers"]:
        """Return the four numbers of each filter side by side."""
        return np.stack([self.limit, self.before, self.factor, self.after], axis=1).ravel()


@dataclass(frozen=True, eq=False)
class Whole:
    """A convolution or dense layer in whole numbers.

    Attributes
    ----------
    weight : ndarray of int8
        Of the shape of the step's.
    bias : ndarray of int32, shape (filters,)
    to : Rescaling or None
        From sums to bytes; None where the result is no byte.
    scale : ndarray of float32, shape (filters,)
        What a sum of 1 means.
    read : Grid
        What the bytes of the source mean.
    low, high : int
        The least and the most byte of the result, with the activation.
    """

    weight: Int8[np.ndarray, "*shape"]
    bias: Int32[np.ndarray, " filters"]
    to: Rescaling | None
    scale: np.ndarray
    read: Grid
    low: int
    high: int


def rescaling(ratio: np.ndarray) -> Rescaling:
    """Return how sums are multiplied by ratios.

    Parameters
    ----------
    ratio : ndarray of float64, > 0

    Examples
    --------
    >>> to = rescaling(np.array([0.001]))
    >>> rescaled(np.array([100_000]), to)
    array([100])
    """
    limit = np.ceil(512 / ratio)
    before = np.maximum(0, np.ceil(np.log2(limit + 1)).astype(int) - _BITS)
    exponent = np.floor(np.log2(ratio * 2.0**before)).astype(int)
    after = _BITS - 1 - exponent
    factor = np.rint(ratio * 2.0**before * 2.0**after)
    over = factor >= 2**_BITS
    factor, after = np.where(over, factor / 2, factor), np.where(over, after - 1, after)
    if (after < 1).any() or (after > 30).any():
        raise CoppiceError(
            f"a layer rounds to steps {float(1 / ratio.max()):.3g} of those before, which 32 bits do not hold."
        )
    return Rescaling(*(np.asarray(values).astype(np.int32) for values in (limit, before, factor, after)))


def rescaled(total: np.ndarray, to: Rescaling) -> np.ndarray:
    """Multiply sums as the C does, exactly: filters along the first axis."""
    limit, before, factor, after = (
        values.astype(np.int64).reshape(-1, *[1] * (total.ndim - 1))
        for values in (to.limit, to.before, to.factor, to.after)
    )
    cut = np.clip(total, -limit, limit)
    cut = (cut + (np.int64(1) << before >> 1)) >> before
    return (cut * factor + (np.int64(1) << after >> 1)) >> after


def whole(step: Convolution | Dense, read: Grid) -> Whole:
    """Return a step in whole numbers.

    Parameters
    ----------
    step : Convolution or Dense
        With ``weight_step``.
    read : Grid
        Of its source.

    Raises
    ------
    CoppiceError
        If a bias or a sum does not fit 32 bits.
    """
    assert step.weight_step is not None
    filters = len(step.weight)
    spread = (filters, *[1] * (step.weight.ndim - 1))
    weight = np.rint(step.weight / step.weight_step.reshape(spread))
    scale = step.weight_step * read.step
    bias = np.rint(step.bias / scale)
    most = np.abs(weight).reshape(filters, -1).sum(axis=1) * 255 + np.abs(bias)
    if np.abs(weight).max() > 127 or most.max() > _MOST:
        raise CoppiceError(f"the sums of {step.name!r} do not fit 32 bits; leave it in float when you quantize.")
    to, low, high = None, 0, 255
    if step.grid is not None:
        to = rescaling(scale / step.grid.step)
        low, high = _limits(step, step.grid)
    return Whole(weight.astype(np.int8), bias.astype(np.int32), to, scale.astype(np.float32), read, low, high)


def _limits(step: Step, grid: Grid) -> tuple[int, int]:
    """Return the bytes between which an activation that clips lets numbers through."""
    if step.activation.kind != "clip":
        return grid.low, grid.high
    low, high = (
        np.clip(np.rint(np.clip(limit / grid.step, -1e6, 1e6)) + grid.zero, grid.low, grid.high)
        for limit in (step.activation.low, step.activation.high)
    )
    return int(low), int(high)


def in_bytes(program: Program) -> tuple[Program, dict[str, Grid]]:
    """Let what was rounded be stored in bytes, and turn bytes into numbers where a step needs them.

    Parameters
    ----------
    program : Program
        Fused, read from a graph with ``QuantizeLinear``.

    Returns
    -------
    Program
        Whose convolutions, dense layers and largest values of rounded values compute in whole numbers, and whose sums,
        products and means of them read and write bytes.
    dict of str to Grid
        What the bytes mean, of each value that is stored in bytes.

    Raises
    ------
    CoppiceError
        If nothing was rounded.
    """
    grids: dict[str, Grid] = {}
    steps: list[Step] = []
    shapes = dict(program.shapes)
    for step in program.steps:
        if _is_whole(step, grids):
            steps.append(step)
            found = grids[step.sources[0]] if isinstance(step, Pool) and step.grid is None else step.grid
            if found is not None:
                grids[step.target] = found
            continue
        for source in step.sources:
            wide = f"{source}_wide"
            if source in grids and wide not in shapes:
                steps.append(Widen(f"{source}_widen", (source,), wide, read=grids[source]))
                shapes[wide] = shapes[source]
        sources = tuple(f"{source}_wide" if source in grids else source for source in step.sources)
        if step.grid is None:
            steps.append(replace(step, sources=sources))
            continue
        exact = sources[0]
        if not (isinstance(step, Scale) and _is_plain(step)):
            exact = f"{step.target}_exact"
            shapes[exact] = shapes[step.target]
            steps.append(replace(step, sources=sources, target=exact, grid=None))
        steps.append(Narrow(f"{step.name}_narrow", (exact,), step.target, grid=step.grid))
        grids[step.target] = step.grid
    if not grids:
        raise CoppiceError("this network was not quantized; give the ONNX file of coppice quantize --to int8.")
    outputs = dict(program.outputs)
    return replace(program, steps=tuple(steps), shapes=shapes, outputs=outputs), grids


def _is_whole(step: Step, grids: dict[str, Grid]) -> bool:
    if step.sources[0] not in grids:
        return False
    if isinstance(step, Convolution):
        gathers = step.pooling is None or step.pooling.kind == "max"
        return step.weight_step is not None and step.grid is not None and gathers
    if isinstance(step, Dense):
        return step.weight_step is not None and step.activation.kind == "clip"
    if isinstance(step, Combine):
        return step.kind != "log_add" and step.grid is not None and all(source in grids for source in step.sources)
    return isinstance(step, Pool) and (step.pooling.kind == "max") == (step.grid is None)


def _is_plain(step: Scale) -> bool:
    return step.activation.is_none and bool((step.factor == 1).all() and (step.offset == 0).all())


def folds(step: Convolution) -> bool:
    """Say whether a convolution of a single channel can read four neighbouring frames as one cell of four channels."""
    along = step.stride[1] == 1 and step.dilation[1] == 1 and step.weight.shape[3] > 1
    return step.weight.shape[1] == 1 and step.groups == 1 and along


def merged_groups(step: Convolution, weight: Int8[np.ndarray, "filters channels *kernel"]) -> tuple[np.ndarray, int]:
    """Return the weights of a grouped convolution with groups of whole cells of four channels, and how many groups.

    Examples
    --------
    >>> step = Convolution("c", ("x",), "y", weight=np.ones((8, 1, 3, 3)), bias=np.zeros(8), groups=8)
    >>> weight, groups = merged_groups(step, np.ones((8, 1, 3, 3), np.int8))
    >>> weight.shape, groups
    ((8, 4, 3, 3), 2)
    """
    filters, channels = len(weight) // step.groups, weight.shape[1]
    if step.groups == 1:
        return weight, 1
    fitting = [
        n for n in range(1, step.groups) if step.groups % n == 0 and not n * filters % 4 and not n * channels % 4
    ]
    together = fitting[0] if fitting else step.groups
    found = np.zeros((len(weight), channels * together, *weight.shape[2:]), weight.dtype)
    for n in range(len(weight)):
        first = n // filters % together * channels
        found[n, first : first + channels] = weight[n]
    return found, step.groups // together
