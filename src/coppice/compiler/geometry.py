"""How a convolution goes over the numbers of a value in long strips, and what memory it takes beside."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from coppice.compiler.layout import Layout
from coppice.compiler.phases import Phases, is_parted, phases
from coppice.compiler.steps import Convolution, Program
from coppice.compiler.tiles import Tile, estimated, tiles_of

_ENOUGH = 512  # positions of a run: of more, the last tile, which is seldom full, is a few hundredths

_STRIP = 100.0  # cycles to begin a strip with a tile: loops of another length are foretold wrongly


@dataclass(frozen=True)
class Strip:
    """Positions that are computed one after the other: of a row, or of several.

    Attributes
    ----------
    source, target : int
        Where the first one is read, and written, from where those of the first row are.
    length : int
    first_tap, last_tap : int
        The taps that do not fall on rows of zeros above and below, ``first_tap <= tap < last_tap``.
    """

    source: int
    target: int
    length: int
    first_tap: int
    last_tap: int


@dataclass(frozen=True)
class Run:
    """Strips that are pooled together; without pooling, all.

    Attributes
    ----------
    strips : tuple of Strip
    target : int
        Where what is pooled is written.
    rows : int
        Of these, once they are pooled; 0 without pooling.
    """

    strips: tuple[Strip, ...]
    target: int = 0
    rows: int = 0


@dataclass(frozen=True)
class Geometry:
    """Strides of a convolution in numbers.

    Where rows of source and target are equally long, a strip runs on from row to row: what it computes where one row
    ends and the next has not begun is thrown away, which is less than what a vector would compute beyond each row.

    Attributes
    ----------
    tiles : tuple of Tile
        Filters of one group, divided.
    taps : tuple of int
        Where each weight of a channel finds its number.
    first : int
        Where the first one of the first channel stands.
    channel : int
        From one channel to the next.
    runs : tuple of Run
    row : int
        From row to row where rows wait to be pooled.
    apart : int
        From filter to filter there.
    pooled : int
        Numbers that wait to be pooled, with one row to pool them in; 0 without pooling.
    phases : Phases or None
        Where rows or frames are left out.
    folded : int
        Numbers of a copy in which four neighbouring frames lie side by side; 0 without.
    """

    tiles: tuple[Tile, ...]
    taps: tuple[int, ...]
    first: int
    channel: int
    runs: tuple[Run, ...]
    row: int
    apart: int
    pooled: int
    phases: Phases | None
    folded: int = 0

    @property
    def scratch(self) -> int:
        """Numbers of memory beside source and target."""
        return self.pooled + self.folded + (self.phases.numbers if self.phases else 0)

    @property
    def strips(self) -> tuple[Strip, ...]:
        """The strips of all runs."""
        return tuple(strip for run in self.runs for strip in run.strips)


def geometry(
    program: Program,
    step: Convolution,
    source: Layout,
    target: Layout,
    *,
    groups: int = 1,
    channels: int,
    side: int = 1,
    folded: bool = False,
    skips: bool = True,
) -> Geometry:
    """Plan a convolution between two layouts.

    Parameters
    ----------
    program : Program
    step : Convolution
    source, target : Layout
    groups : int
        Of filters, each of which read channels of their own.
    channels : int
        Planes of numbers that each filter reads: channels, or cells of four.
    side : int
        Channels that lie side by side in one number, 1 or 4; filters of a tile are a multiple of this.
    folded : bool
        Whether, of a single channel, four neighbouring frames lie side by side instead.
    skips : bool
        Whether rows above and below the value are zeros that need not be multiplied.

    Examples
    --------
    >>> import numpy as np
    >>> from coppice.compiler.layout import padded_layouts
    >>> step = Convolution("c", ("x",), "y", weight=np.ones((8, 1, 3, 3)), bias=np.zeros(8), padding=(1, 1, 1, 1))
    >>> program = Program((step,), {"x": (1, 40, 51), "y": (8, 40, 51)}, "x", {})
    >>> layouts = padded_layouts(program)
    >>> planned = geometry(program, step, layouts["x"], layouts["y"], channels=1)
    >>> len(planned.runs), planned.runs[0].strips[0].length, planned.taps[:4]
    (1, 2079, (0, 1, 2, 52))
    """
    _, rows, frames = program.convolved(step)
    pooling = step.pooling
    apart = None
    if is_parted(program, step):
        apart = phases(program, step, channels=source.channels, row=0 if pooling else target.row)
    high, wide = step.weight.shape[2:]
    row, down = (apart.row, 1) if apart else (source.row, step.stride[0])
    if folded:
        wide = -(-wide // 4)
    columns = [k * (4 if folded else step.dilation[1]) for k in range(wide)]
    places = [(i * step.dilation[0], x) for i in range(high) for x in columns]
    taps = tuple(apart.tap(y, x) if apart else y * row + x for y, x in places)
    runs_on = down == 1 and (pooling is not None or row == target.row)
    waiting = target.row if pooling is None else row if runs_on else frames
    bands = _bands(program, step, row * (pooling.kernel[0] if pooling else 1))
    filters = -(-step.weight.shape[0] // groups // side) * side

    reads = [_rows_read(step, program.shapes[step.sources[0]][1], y) if skips else (0, high) for y in range(rows)]

    def time(block: _Block) -> float:
        strips = ((channels * (block.last - block.first) * wide, (block.rows - 1) * row + frames, 1),)
        tiles = tiles_of(filters, strips, step=side)
        return _STRIP * len(tiles) + estimated(tiles, strips)

    runs = tuple(
        Run(
            tuple(
                Strip(
                    block.begin * down * row,
                    (block.begin - begin) * waiting,
                    (block.rows - 1) * row + frames,
                    block.first * wide,
                    block.last * wide,
                )
                for block in _blocks(begin, end, reads, time if runs_on else None)
            ),
            window * target.row,
            windows,
        )
        for begin, end, window, windows in bands
    )
    found = Counter((channels * (s.last_tap - s.first_tap), s.length) for run in runs for s in run.strips)
    tiles = tiles_of(filters, tuple((*strip, times) for strip, times in found.items()), step=side)
    # A row is longer than what lies between two where a narrow kernel goes over zeros on both sides.
    between = max(end - begin for begin, end, _, _ in bands) * waiting + max(0, frames - waiting) if pooling else 0
    return Geometry(
        tiles=tiles,
        taps=taps,
        first=0 if apart else source.first - step.padding[0] * row - step.padding[1],
        channel=apart.channel if apart else source.channel,
        runs=runs,
        row=waiting,
        apart=between,
        pooled=max(tile.filters for tile in tiles) // side * between + frames if pooling else 0,
        phases=apart,
        folded=source.numbers if folded else 0,
    )


def _bands(program: Program, step: Convolution, window: int) -> list[tuple[int, int, int, int]]:
    """Return what is pooled at once: first and last row of a convolution, first window and number of windows."""
    _, rows, _ = program.convolved(step)
    if step.pooling is None:
        return [(0, rows, 0, 0)]
    count, high, down = program.shapes[step.target][1], step.pooling.kernel[0], step.pooling.stride[0]
    # Rows between windows are not computed.
    together = min(count, -(-_ENOUGH // window)) if high == down else 1
    together = -(-count // -(-count // together))
    firsts = [*range(0, count, together), count]
    return [(a * down, (b - 1) * down + high, a, b - a) for a, b in pairwise(firsts)]


def _rows_read(step: Convolution, rows: int, y: int) -> tuple[int, int]:
    """Return the first and the last row of a kernel that fall on a value, for a row of what is computed."""
    top = y * step.stride[0] - step.padding[0]
    falls = [i for i in range(step.weight.shape[2]) if 0 <= top + i * step.dilation[0] < rows]
    return (falls[0], falls[-1] + 1) if falls else (0, 0)


@dataclass(frozen=True)
class _Block:
    """Rows of what is computed that a strip runs through, and the rows of the kernel that any of them reads."""

    begin: int
    rows: int
    first: int
    last: int


def _blocks(
    begin: int, end: int, reads: Sequence[tuple[int, int]], time: Callable[[_Block], float] | None
) -> list[_Block]:
    """Divide rows into blocks that take the least time together; each row alone where no time is given."""
    if time is None:
        return [_Block(y, 1, *reads[y]) for y in range(begin, end)]
    cuts = [begin, *(y for y in range(begin + 1, end) if reads[y] != reads[y - 1]), end]
    best: dict[int, tuple[float, list[_Block]]] = {begin: (0.0, [])}
    for b in cuts[1:]:
        options = []
        for a in (cut for cut in cuts if cut < b):
            first, last = min(reads[y][0] for y in range(a, b)), max(reads[y][1] for y in range(a, b))
            block = _Block(a, b - a, first, last)
            options.append((best[a][0] + time(block), [*best[a][1], block]))
        best[b] = min(options, key=lambda option: option[0])
    return best[end][1]
