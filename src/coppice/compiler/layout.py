"""Where the numbers of a value lie in memory, and the zeros that convolutions expect around them."""

from collections.abc import Container
from dataclasses import dataclass

from coppice.compiler.phases import is_parted, row_of
from coppice.compiler.steps import Convolution, Program, Shape
from coppice.compiler.tiles import LANES


@dataclass(frozen=True)
class Layout:
    """A value in memory: channel after channel, row after row, frame after frame.

    The zeros to the right of a row are those to the left of the next, so that a convolution may run on from row to row.

    Attributes
    ----------
    lead : int
        Zeros before a channel's first row.
    top, bottom : int
        Rows of zeros.
    row : int
        Numbers from one row to the next.
    channel : int
        Numbers from one channel to the next.
    channels : int
    """

    lead: int
    top: int
    bottom: int
    row: int
    channel: int
    channels: int

    @property
    def first(self) -> int:
        """Position of a channel's first number."""
        return self.lead + self.top * self.row

    @property
    def numbers(self) -> int:
        """How many there are with the zeros."""
        return self.channels * self.channel

    @property
    def has_border(self) -> bool:
        """Whether there are zeros that must be written."""
        return bool(self.lead or self.top or self.bottom)


def dense_layouts(program: Program) -> dict[str, Layout]:
    """Return layouts without any zeros, which take the least memory.

    Examples
    --------
    >>> dense_layouts(Program((), {"x": (2, 40, 500)}, "x", {}))["x"].numbers
    40000
    """
    return {name: _layout(shape, (0, 0, 0, 0), shape[2]) for name, shape in program.shapes.items()}


def padded_layouts(program: Program, stored: Container[str] = ()) -> dict[str, Layout]:
    """Return layouts with the zeros that the convolutions that read a value expect around it.

    All values with as many frames have rows of one length, so that what a convolution computes from row to row can be
    written as it comes. Convolutions that leave out rows or frames read copies (:mod:`coppice.compiler.phases`), with
    zeros of their own, and rows as long as those of their target wherever that takes no more vectors.

    Parameters
    ----------
    program : Program
    stored : container of str
        Values that are stored in bytes: four channels lie side by side, as one.

    Examples
    --------
    >>> import numpy as np
    >>> step = Convolution("c", ("x",), "y", weight=np.ones((4, 1, 7, 7)), bias=np.zeros(4), padding=(3, 3, 3, 3))
    >>> padded_layouts(Program((step,), {"x": (1, 40, 500), "y": (4, 40, 500)}, "x", {}))["x"]
    Layout(lead=3, top=3, bottom=3, row=503, channel=23141, channels=1)
    """
    borders = {name: _border(program, name) for name in program.shapes}
    widest: dict[int, int] = {}
    for name, shape in program.shapes.items():
        _, left, _, right = borders[name]
        widest[shape[2]] = max(widest.get(shape[2], 0), left, right)
    for step in program.steps:
        if isinstance(step, Convolution) and step.pooling is None and is_parted(program, step):
            _, rows, frames = program.shapes[step.target]
            row = max(row_of(program, step), frames + widest[frames])
            if rows > 1 and row <= -(-frames // LANES) * LANES:
                widest[frames] = row - frames
    found = {}
    for name, shape in program.shapes.items():
        planes = -(-shape[0] // 4) if name in stored else shape[0]
        found[name] = _layout((planes, *shape[1:]), borders[name], shape[2] + widest[shape[2]])
    return found


def _border(program: Program, name: str) -> tuple[int, int, int, int]:
    border = [0, 0, 0, 0]
    for step in program.readers(name):
        if isinstance(step, Convolution) and not is_parted(program, step):
            border = [max(pair) for pair in zip(border, step.padding, strict=True)]
    return border[0], border[1], border[2], border[3]


def _layout(shape: Shape, border: tuple[int, int, int, int], row: int) -> Layout:
    channels, rows, _ = shape
    top, left, bottom, _ = border
    return Layout(left, top, bottom, row, left + (top + rows + bottom) * row, channels)
