"""The form between a network and its C: a short list of typed steps between values of fixed shape."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from jaxtyping import Float64

Shape = tuple[int, int, int]
"""(channels, rows, frames): of a log-mel picture rows are bands; a waveform has one row; a vector has channels only."""


@dataclass(frozen=True)
class Activation:
    """What is applied to every number.

    Attributes
    ----------
    kind : {"clip", "tanh", "sigmoid", "hard_swish", "hard_sigmoid"}
        ``clip`` is ReLU, ReLU6 and nothing at all.
    low, high : float
        The range of ``clip``.
    """

    kind: str = "clip"
    low: float = -np.inf
    high: float = np.inf

    @property
    def is_none(self) -> bool:
        """Whether numbers stay as they are."""
        return self == NONE

    def __str__(self) -> str:
        if self.kind != "clip":
            return self.kind
        return {NONE: "", RELU: "relu"}.get(self, f"clip {self.low:g} to {self.high:g}")


NONE = Activation()
RELU = Activation(low=0.0)


@dataclass(frozen=True)
class Grid:
    """The 256 numbers that a value is rounded to, so that it is stored in bytes: ``step * (byte - zero)``.

    Attributes
    ----------
    step : float > 0
    zero : int
        The byte that means 0.
    low, high : int, 0 to 255
        The bytes that are used.
    """

    step: float
    zero: int
    low: int = 0
    high: int = 255


@dataclass(frozen=True)
class Pooling:
    """How numbers are gathered: the largest, or the mean, of each window.

    Attributes
    ----------
    kind : {"max", "average"}
    kernel, stride : (rows, frames)
    padding : (top, left, bottom, right)
    count_padding : bool
        Whether the mean counts what lies beyond the edge.
    """

    kind: str
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    count_padding: bool = False


@dataclass(frozen=True, eq=False)
class Step:
    """One thing to be computed.

    Attributes
    ----------
    name : str
        The layer, or the node of the graph.
    sources : tuple of str
        Values read.
    target : str
        The value written.
    activation : Activation
        Applied to what is computed, before any pooling.
    grid : Grid or None
        What the target is rounded to, last of all; None where it is not.
    """

    name: str
    sources: tuple[str, ...]
    target: str
    activation: Activation = NONE
    grid: Grid | None = None

    def after(self, **changes: object) -> Self:
        """Return this step with changes."""
        return replace(self, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False, kw_only=True)
class Convolution(Step):
    """A convolution along rows and frames, with pooling behind its activation where that is fused.

    Attributes
    ----------
    weight : ndarray of float64, shape (filters, channels / groups, rows, frames)
    bias : ndarray of float64, shape (filters,)
    stride, dilation : (rows, frames)
    padding : (top, left, bottom, right)
    groups : int
    pooling : Pooling or None
    weight_step : ndarray of float64, shape (filters,), or None
        What the weights of each filter are whole multiples of, up to 127 times; None where they are not.
    """

    weight: Float64[np.ndarray, "filters channels rows frames"]
    bias: Float64[np.ndarray, " filters"]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1
    pooling: Pooling | None = None
    weight_step: Float64[np.ndarray, " filters"] | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Dense(Step):
    """A matrix product with all numbers of a value, channel by channel and row by row.

    Attributes
    ----------
    weight : ndarray of float64, shape (units, inputs)
    bias : ndarray of float64, shape (units,)
    weight_step : ndarray of float64, shape (units,), or None
        As of a convolution.
    """

    weight: Float64[np.ndarray, "units inputs"]
    bias: Float64[np.ndarray, " units"]
    weight_step: Float64[np.ndarray, " units"] | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Scale(Step):
    """``factor * x + offset`` with constants of each channel or each row: normalisation that could not be folded.

    Attributes
    ----------
    factor, offset : ndarray of float64, shape (channels, rows, 1)
    """

    factor: Float64[np.ndarray, "channels rows 1"]
    offset: Float64[np.ndarray, "channels rows 1"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Pool(Step):
    """Pooling on its own, where no convolution could take it."""

    pooling: Pooling


@dataclass(frozen=True, eq=False, kw_only=True)
class Combine(Step):
    """Two values added or multiplied; the second may have one number per channel.

    Attributes
    ----------
    kind : {"add", "multiply", "log_add"}
        ``log_add`` adds what the values are the logarithms of, and takes the logarithm.
    """

    kind: str = "add"


@dataclass(frozen=True, eq=False, kw_only=True)
class Select(Step):
    """Channels of a value, in any order.

    Attributes
    ----------
    channels : tuple of int
        The channel of the source for each of the target.
    """

    channels: tuple[int, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Join(Step):
    """Values one after the other along the channels."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Surround(Step):
    """A value with more rows and frames around it, all of one number.

    Attributes
    ----------
    padding : (top, left, bottom, right)
    filler : float
    """

    padding: tuple[int, int, int, int]
    filler: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Permute(Step):
    """Axes in another order.

    Attributes
    ----------
    axes : tuple of int
        Axis of the source for each axis of the target.
    """

    axes: tuple[int, int, int] = (0, 1, 2)


@dataclass(frozen=True, eq=False, kw_only=True)
class Softmax(Step):
    """Numbers above 0 that sum to 1, over the channels of a vector.

    Attributes
    ----------
    log : bool
        Whether their logarithms are wanted.
    """

    log: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class Narrow(Step):
    """Numbers as bytes of the step's grid."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Widen(Step):
    """Bytes as numbers.

    Attributes
    ----------
    read : Grid
        What the bytes mean.
    """

    read: Grid


@dataclass(frozen=True, eq=False)
class Program:
    """What a network computes, in order.

    Attributes
    ----------
    steps : tuple of Step
        Each after those whose targets it reads.
    shapes : dict of str to (channels, rows, frames)
        Of every value.
    source : str
        The value that is given.
    outputs : dict of str to str
        What the values that are wanted are called, such as ``posteriors``, and the values.
    """

    steps: tuple[Step, ...]
    shapes: dict[str, Shape]
    source: str
    outputs: dict[str, str]

    def readers(self, value: str) -> list[Step]:
        """Return the steps that read a value."""
        return [step for step in self.steps if value in step.sources]

    def macs(self, step: Step) -> int:
        """Return the multiply-accumulates of a step: of convolutions and dense layers, as everywhere in Coppice.

        Examples
        --------
        >>> dense = Dense("dense1", ("x",), "y", weight=np.ones((3, 4)), bias=np.zeros(3))
        >>> Program((dense,), {"x": (4, 1, 1), "y": (3, 1, 1)}, "x", {"logits": "y"}).macs(dense)
        12
        """
        if isinstance(step, Dense):
            return int(step.weight.size)
        if isinstance(step, Convolution):
            _, rows, frames = self.convolved(step)
            return int(step.weight.size * rows * frames)
        return 0

    def convolved(self, step: Convolution) -> Shape:
        """Return the shape of what a convolution computes, before it is pooled."""
        return convolved_shape(step, self.shapes[step.sources[0]])


def convolved_shape(step: Convolution, source: Shape) -> Shape:
    """Return the shape that a convolution makes of a shape, before pooling.

    Examples
    --------
    >>> step = Convolution("c", ("x",), "y", weight=np.ones((4, 1, 7, 7)), bias=np.zeros(4), padding=(3, 3, 3, 3))
    >>> convolved_shape(step, (1, 40, 500))
    (4, 40, 500)
    """
    before, after = step.padding[:2], step.padding[2:]
    rows, frames = (
        (size + before[axis] + after[axis] - step.dilation[axis] * (step.weight.shape[2 + axis] - 1) - 1)
        // step.stride[axis]
        + 1
        for axis, size in enumerate(source[1:])
    )
    return step.weight.shape[0], rows, frames


def pooled_shape(pooling: Pooling, source: Shape) -> Shape:
    """Return the shape that pooling makes of a shape; what does not fill a window is left out.

    Examples
    --------
    >>> pooled_shape(Pooling("max", (5, 5), (5, 5)), (16, 40, 501))
    (16, 8, 100)
    """
    before, after = pooling.padding[:2], pooling.padding[2:]
    rows, frames = (
        (size + before[axis] + after[axis] - pooling.kernel[axis]) // pooling.stride[axis] + 1
        for axis, size in enumerate(source[1:])
    )
    return source[0], rows, frames
