"""Convolutions that leave out rows and frames, as convolutions that leave out none: of copies, one for each phase."""

from dataclasses import dataclass

from coppice.compiler.steps import Convolution, Program
from coppice.compiler.tiles import LANES

_SHORT = 64  # frames: above, a row on its own fills vectors well, and a copy costs more than it saves


@dataclass(frozen=True)
class Phases:
    """Copies of a value with zeros around, each of the rows and frames that are one stride apart.

    What neighbouring numbers of the target read lies side by side there, so that strips run on from row to row.

    Attributes
    ----------
    down, across : int
        The strides.
    tall, wide : int
        Phases of rows and of frames that the kernel reads; the copies of a channel lie one after the other.
    rows : int
        Of a copy.
    row : int
        Numbers from row to row.
    gap : int
        Zeros after each copy: its last row has none of a next one to share.
    channels : int
    """

    down: int
    across: int
    tall: int
    wide: int
    rows: int
    row: int
    gap: int
    channels: int

    @property
    def copy(self) -> int:
        """Numbers of one copy of a channel."""
        return self.rows * self.row + self.gap

    @property
    def channel(self) -> int:
        """Numbers from one channel to the next."""
        return self.tall * self.wide * self.copy

    @property
    def numbers(self) -> int:
        """All numbers, and a vector more: the last one that is written ends beyond."""
        return self.channels * self.channel + LANES

    def tap(self, row: int, frame: int) -> int:
        """Return where a convolution finds the number that is so many rows and frames from its first.

        Examples
        --------
        >>> Phases(down=2, across=2, tall=2, wide=2, rows=5, row=8, gap=0, channels=1).tap(1, 2)
        81
        """
        copy = row % self.down * self.wide + frame % self.across
        return copy * self.copy + row // self.down * self.row + frame // self.across


def is_parted(program: Program, step: Convolution) -> bool:
    """Say whether a convolution reads copies of its source, one for each phase.

    Without a stride along frames a copy is worth it only where rows are short, and of several channels.
    """
    _, _, frames = program.convolved(step)
    if step.stride[1] > 1:
        return True
    return step.stride[0] > 1 and frames < _SHORT and (step.weight.shape[1] > 1 or step.groups > 1)


def row_of(program: Program, step: Convolution) -> int:
    """Return how long the rows of copies must be: the frames of the target, and those that the kernel sees beyond.

    Zeros to the right of a row are those to the left of the next, where there are some on both sides.

    Examples
    --------
    >>> import numpy as np
    >>> step = Convolution(
    ...     "c", ("x",), "y", weight=np.ones((8, 1, 3, 3)), bias=np.zeros(8), stride=(2, 1), padding=(1, 1, 1, 1)
    ... )
    >>> row_of(Program((step,), {"x": (1, 9, 9), "y": (8, 5, 9)}, "x", {}), step)
    10
    """
    return max(row - shared for row, shared in _rows(program, step))


def _rows(program: Program, step: Convolution) -> list[tuple[int, int]]:
    """Return how long a row of each phase of frames is, and how many zeros at its end the next one begins with."""
    frames = program.shapes[step.sources[0]][2]
    across, left = step.stride[1], step.padding[1]
    beyond: dict[int, int] = {}  # of each phase, what the kernel sees beyond a number
    for k in range(step.weight.shape[3]):
        further, phase = divmod(k * step.dilation[1], across)
        beyond[phase] = max(beyond.get(phase, 0), further)
    found = []
    for phase, further in beyond.items():
        row = program.convolved(step)[2] + further
        before = max(0, -(-(left - phase) // across))
        numbers = max(0, -(-(frames + left - phase) // across) - before)
        found.append((row, min(before, max(0, row - before - numbers))))
    return found


def phases(program: Program, step: Convolution, *, channels: int, row: int) -> Phases:
    """Return the copies of the source of a convolution.

    Parameters
    ----------
    program : Program
    step : Convolution
        :func:`is_parted`.
    channels : int
        Planes of numbers of the source.
    row : int
        Numbers from row to row of the target, which the copies have as well where that is enough.

    Examples
    --------
    >>> import numpy as np
    >>> step = Convolution("c", ("x",), "y", weight=np.ones((8, 1, 3, 3)), bias=np.zeros(8), stride=(2, 2))
    >>> phases(Program((step,), {"x": (1, 9, 9), "y": (8, 4, 4)}, "x", {}), step, channels=1, row=5)
    Phases(down=2, across=2, tall=2, wide=2, rows=5, row=5, gap=0, channels=1)
    """
    _, rows, _ = program.convolved(step)
    (down, across), (high, wide) = step.stride, step.weight.shape[2:]
    return Phases(
        down,
        across,
        tall=1 + max(i * step.dilation[0] % down for i in range(high)),
        wide=1 + max(k * step.dilation[1] % across for k in range(wide)),
        rows=rows + (high - 1) * step.dilation[0] // down,
        row=max(row, row_of(program, step)),
        gap=max(shared for _, shared in _rows(program, step)),
        channels=channels,
    )
