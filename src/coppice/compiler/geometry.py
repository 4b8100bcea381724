"""How a convolution goes over the numbers of a value in long strips, and what memory it takes beside."""

from dataclasses import dataclass

from coppice.compiler.layout import Layout, parted
from coppice.compiler.steps import Convolution, Program
from coppice.compiler.tiles import Tile, tiles_of


@dataclass(frozen=True)
class Spread:
    """A copy of a value in which frames that are `phases` apart stand side by side, with zeros around.

    Attributes
    ----------
    phases : int
        The stride along frames.
    row : int
        Numbers of one phase of a row.
    channel : int
        Numbers of one channel.
    numbers : int
    """

    phases: int
    row: int
    channel: int
    numbers: int


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
    runs, parts : int
        A run is what is pooled at once, without pooling all or one row; its parts are strips.
    length : int
        Positions of a strip.
    in_run, in_part, out_run, out_part : int
        From one run, and part, to the next.
    row : int
        From row to row where rows wait to be pooled.
    pooled : int
        Numbers that wait to be pooled, with one row to pool them in; 0 without pooling.
    spread : Spread or None
        Where frames are left out.
    folded : int
        Numbers of a copy in which four neighbouring frames lie side by side; 0 without.
    """

    tiles: tuple[Tile, ...]
    taps: tuple[int, ...]
    first: int
    channel: int
    runs: int
    parts: int
    length: int
    in_run: int
    in_part: int
    out_run: int
    out_part: int
    row: int
    pooled: int
    spread: Spread | None
    folded: int = 0

    @property
    def scratch(self) -> int:
        """Numbers of memory beside source and target."""
        return self.pooled + self.folded + (self.spread.numbers if self.spread else 0)


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

    Examples
    --------
    >>> import numpy as np
    >>> from coppice.compiler.layout import padded_layouts
    >>> step = Convolution("c", ("x",), "y", weight=np.ones((8, 1, 3, 3)), bias=np.zeros(8), padding=(1, 1, 1, 1))
    >>> program = Program((step,), {"x": (1, 40, 51), "y": (8, 40, 51)}, "x", {})
    >>> layouts = padded_layouts(program)
    >>> planned = geometry(program, step, layouts["x"], layouts["y"], channels=1)
    >>> planned.runs, planned.length, planned.taps[:4]
    (1, 2079, (0, 1, 2, 52))
    """
    _, rows, frames = program.convolved(step)
    spread = _spread(program, step, source.channels) if parted(step) else None
    high, wide = step.weight.shape[2:]
    down, across = step.stride
    row = spread.phases * spread.row if spread else source.row
    phase = spread.row if spread else 0
    if folded:
        wide = -(-wide // 4)
    columns = [k * (4 if folded else step.dilation[1]) for k in range(wide)]
    taps = tuple(i * step.dilation[0] * row + x % across * phase + x // across for i in range(high) for x in columns)
    pooling = step.pooling
    flat = spread is None and down == 1
    high_window = 1 if pooling is None else pooling.kernel[0]
    if pooling is None and flat and source.row == target.row:
        runs, parts, length = 1, 1, (rows - 1) * row + frames
    elif pooling is None:
        runs, parts, length = rows, 1, frames
    else:
        runs = program.shapes[step.target][1]
        parts, length = (1, (high_window - 1) * row + frames) if flat else (high_window, frames)
    tiles = tiles_of(
        -(-step.weight.shape[0] // groups // side) * side,
        taps=channels * high * wide,
        length=length,
        step=side,
    )
    waiting = row if flat else frames
    widest = max(tile.filters for tile in tiles) // side
    apart = length if parts == 1 else parts * frames
    return Geometry(
        tiles=tiles,
        taps=taps,
        first=0 if spread else source.first - step.padding[0] * row - step.padding[1],
        channel=spread.channel if spread else source.channel,
        runs=runs,
        parts=parts,
        length=length,
        in_run=down * row * (pooling.stride[0] if pooling else 1),
        in_part=down * row,
        out_run=target.row,
        out_part=0,
        row=waiting,
        pooled=widest * apart + frames if pooling else 0,
        spread=spread,
        folded=source.numbers if folded else 0,
    )


def _spread(program: Program, step: Convolution, channels: int) -> Spread:
    _, rows, frames = program.shapes[step.sources[0]]
    top, left, bottom, right = step.padding
    phases = step.stride[1]
    row = -(-(left + frames + right) // phases)
    channel = (top + rows + bottom) * phases * row
    return Spread(phases, row, channel, channels * channel)
