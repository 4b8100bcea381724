"""Which filters and frames a convolution computes at a time: the tile that stays in the processor's registers."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

LANES = 16  # numbers of a vector on the processor that tiles are chosen for: float32 with AVX-512
_REGISTERS = 28  # of 32: some are the compiler's, and more sums gain nothing
_FEW_REGISTERS, _FEW_FILTERS, _FEW_LANES = 16, 6, 8
_MOST_FILTERS, _MOST_VECTORS = 12, 8

# Cycles of a core with two units for vector products and two for loads, as all with AVX-512 but the smallest have.
_PRODUCTS, _LOADS = 2.0, 2.0
_VECTOR_LOAD = 1.9  # of one that is not aligned: nearly all cross a line of the cache
_KIND = 0.01  # what one more kind of tile must gain, as each takes code
_SWEEP = 0.002  # and one more tile, for which all that is read is read again
_TAP = 0.5  # to find the next number
_TILE = 30.0  # to begin a tile, write it and go on to the next

_NEAR_BYTES = 28 << 10  # of the 32 KiB of most first caches: what is written goes through them as well
_LINE_BYTES, _NUMBER_BYTES = 64, 4

Part = tuple[int, int, int]
"""First filter, filters, vectors."""
Strips = tuple[tuple[int, int, int], ...]
"""What tiles go along: (taps of one filter, positions, how many of these) of strips."""


@dataclass(frozen=True, order=True)
class Tile:
    """Sums that are computed at once: of some filters, at vectors of neighbouring frames.

    Attributes
    ----------
    filters, vectors : int
    rest : int
        Vectors at once where fewer positions than these are left at the end of a strip; 0 if as many as ever.
    """

    filters: int
    vectors: int
    rest: int = 0

    @property
    def few_vectors(self) -> int:
        """Vectors on processors with 16 registers, where no others are used for the rest."""
        return 2 if self.vectors >= 2 and 2 * self.filters + 2 + 1 <= _FEW_REGISTERS else 1

    @property
    def few_parts(self) -> tuple[Part, ...]:
        """Its filters in parts that are computed one after the other on processors with 16 registers.

        Ten to twelve sums hide the latency of products and leave registers for what is read: fewer wait for each
        other, more wait in memory.

        Examples
        --------
        >>> Tile(8, 3).few_parts
        ((0, 4, 3), (4, 4, 3))
        >>> Tile(11, 2).few_parts
        ((0, 6, 2), (6, 5, 2))
        """
        count = -(-self.filters // _FEW_FILTERS)
        firsts = [part * self.filters // count for part in range(count + 1)][::-1]
        sizes = [a - b for a, b in pairwise(firsts)]
        begins = [sum(sizes[:place]) for place in range(count)]
        return tuple(
            (begin, size, (_FEW_REGISTERS - 1) // (size + 1)) for begin, size in zip(begins, sizes, strict=True)
        )

    @property
    def kinds(self) -> tuple["Tile", ...]:
        """What code it takes: the tile without, and that for, the rest."""
        whole = Tile(self.filters, self.vectors)
        return (whole, Tile(self.filters, self.rest)) if self.rest else (whole,)

    def __str__(self) -> str:
        return f"{self.filters}x{self.vectors}{f'+{self.rest}' if self.rest else ''}"


def cycles(tile: Tile, *, taps: int, length: int) -> float:
    """Estimate the cycles in which a tile's filters go along a number of positions.

    Each tap takes one product for each filter and vector, one load for each vector and one for each filter's weight.
    What stands beyond the last position is computed in vain.

    Parameters
    ----------
    tile : Tile
    taps : int
        Weights of one filter.
    length : int
        Positions, such as rows times frames.

    Examples
    --------
    >>> cycles(Tile(8, 3), taps=784, length=20_000) < cycles(Tile(4, 4), taps=784, length=20_000) * 2
    True
    >>> cycles(Tile(8, 3, rest=1), taps=784, length=64) < cycles(Tile(8, 3), taps=784, length=64)
    True
    """
    whole, left = divmod(length, tile.vectors * LANES)
    if not left:
        return whole * _once(tile.filters, tile.vectors, taps)
    last = tile.rest if left <= tile.rest * LANES else tile.vectors
    return whole * _once(tile.filters, tile.vectors, taps) + _once(tile.filters, last, taps)


def _once(filters: int, vectors: int, taps: int) -> float:
    tap = _TAP + max(
        filters * vectors / _PRODUCTS,
        (vectors * _VECTOR_LOAD + filters + 1) / _LOADS,
        4.0 if filters * vectors < 8 else 0.0,  # a sum waits four cycles for the one before
    )
    return taps * tap + _TILE + filters * vectors


def estimated(tiles: Iterable[Tile], strips: Strips) -> float:
    """Estimate the cycles in which tiles go along strips, one after the other.

    Examples
    --------
    >>> estimated([Tile(8, 3), Tile(8, 3)], ((784, 2000, 5),)) == 10 * cycles(Tile(8, 3), taps=784, length=2000)
    True
    """
    return sum(times * cycles(tile, taps=taps, length=length) for tile in tiles for taps, length, times in strips)


@lru_cache(maxsize=4096)
def tiles_of(filters: int, strips: Strips, *, step: int = 1) -> tuple[Tile, ...]:
    """Divide filters among tiles so that the estimated time is shortest.

    Parameters
    ----------
    filters : int >= 1
        Of one group.
    strips : tuple of (taps, positions, times)
        See :func:`cycles`.
    step : int
        Filters of a tile are a multiple of this.

    Examples
    --------
    >>> [str(tile) for tile in tiles_of(16, ((784, 20_000, 1),))]
    ['8x3', '8x3']
    >>> [str(tile) for tile in tiles_of(32, ((784, 416, 1),))]
    ['12x2', '12x2', '8x3+2']
    >>> sum(tile.filters for tile in tiles_of(11, ((784, 20_000, 1),)))
    11
    """
    best: dict[int, tuple[float, tuple[Tile, ...]]] = {0: (0.0, ())}
    shapes = {count: _fastest(count, strips) for count in range(step, _MOST_FILTERS + 1, step)}
    for count in range(step, filters + 1, step):
        options = []
        for size, (tile, time) in shapes.items():
            if size <= count:
                before = best[count - size]
                options.append((before[0] + time, (tile, *before[1])))
        best[count] = min(
            options, key=lambda option: option[0] * (1 + _KIND * len(set(option[1])) + _SWEEP * len(option[1]))
        )
    return tuple(sorted(best[filters][1], reverse=True))


def _fastest(filters: int, strips: Strips) -> tuple[Tile, float]:
    """Return the tile for some filters that takes the least time, and that time; code for a rest must gain as well."""

    def time(tile: Tile) -> float:
        return estimated([tile], strips) * (1 + _KIND * len(tile.kinds))

    best = min(_shapes(filters), key=time)
    return best, time(best)


def _shapes(filters: int) -> list[Tile]:
    return [
        Tile(filters, vectors, rest)
        for vectors in range(1, _MOST_VECTORS + 1)
        if filters * vectors + vectors + 1 <= _REGISTERS
        for rest in range(vectors)
    ]


def channels_at_once(tile: Tile, weight_shape: tuple[int, int, int, int], *, few: bool = False) -> int:
    """Return of how many channels a tile finds the weights and the numbers in the first cache.

    Place after place, a tile reads all these weights again, and most of the numbers.

    Parameters
    ----------
    tile : Tile
    weight_shape : (filters, channels of a group, height, width)
    few : bool
        On processors with 16 registers.

    Returns
    -------
    int
        As near to each other in number as can be: 16 channels of which 7 fit are 6, 6 and 4, and not 7, 7 and 2.

    Examples
    --------
    >>> channels_at_once(Tile(11, 2), (11, 16, 7, 7)), channels_at_once(Tile(11, 2), (11, 16, 3, 3))
    (6, 16)
    >>> channels_at_once(Tile(11, 2), (11, 16, 7, 7), few=True)
    8
    """
    _, channels, high, wide = weight_shape
    parts, lanes = (tile.few_parts, _FEW_LANES) if few else (((0, tile.filters, tile.vectors),), LANES)
    each = max(
        size * high * wide * _NUMBER_BYTES + high * ((vectors * lanes + wide) * _NUMBER_BYTES + _LINE_BYTES)
        for _, size, vectors in parts
    )
    return -(-channels // -(-channels * each // _NEAR_BYTES))
