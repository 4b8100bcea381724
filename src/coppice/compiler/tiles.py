"""Which filters and frames a convolution computes at a time: the tile that stays in the processor's registers."""

from dataclasses import dataclass
from functools import lru_cache

LANES = 16  # numbers of a vector on the processor that tiles are chosen for: float32 with AVX-512
_REGISTERS = 28  # of 32: GCC keeps limits of the activation in some, and from 6x4 on sums would wait in memory
_FEW_REGISTERS = 16
_MOST_FILTERS, _MOST_VECTORS = 12, 8

# Cycles of a core with two units for vector products and two for loads, as all with AVX-512 but the smallest have.
_PRODUCTS, _LOADS = 2.0, 2.0
_VECTOR_LOAD = 1.9  # of one that is not aligned: nearly all cross a line of the cache
_KIND = 0.01  # what one more kind of tile must gain, as each takes code
_SWEEP = 0.002  # and one more tile, for which all that is read is read again
_TAP = 0.5  # to find the next number
_TILE = 30.0  # to begin a tile, write it and go on to the next


@dataclass(frozen=True, order=True)
class Tile:
    """Sums that are computed at once: of some filters, at vectors of neighbouring frames.

    Attributes
    ----------
    filters, vectors : int
    """

    filters: int
    vectors: int

    @property
    def few_vectors(self) -> int:
        """Vectors on processors with 16 registers."""
        return 2 if self.vectors >= 2 and 2 * self.filters + 2 + 1 <= _FEW_REGISTERS else 1

    def __str__(self) -> str:
        return f"{self.filters}x{self.vectors}"


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
    """
    tap = _TAP + max(
        tile.filters * tile.vectors / _PRODUCTS,
        (tile.vectors * _VECTOR_LOAD + tile.filters + 1) / _LOADS,
        4.0 if tile.filters * tile.vectors < 8 else 0.0,  # a sum waits four cycles for the one before
    )
    return -(-length // (tile.vectors * LANES)) * (taps * tap + _TILE + tile.filters * tile.vectors)


@lru_cache(maxsize=4096)
def tiles_of(filters: int, *, taps: int, length: int, step: int = 1) -> tuple[Tile, ...]:
    """Divide filters among tiles so that the estimated time is shortest.

    Parameters
    ----------
    filters : int >= 1
        Of one group.
    taps, length : int
        See :func:`cycles`.
    step : int
        Filters of a tile are a multiple of this.

    Examples
    --------
    >>> [str(tile) for tile in tiles_of(16, taps=784, length=20_000)]
    ['8x3', '8x3']
    >>> sum(tile.filters for tile in tiles_of(11, taps=784, length=20_000))
    11
    """
    best: dict[int, tuple[float, tuple[Tile, ...]]] = {0: (0.0, ())}
    shapes = {
        count: min(_shapes(count), key=lambda tile: cycles(tile, taps=taps, length=length))
        for count in range(step, _MOST_FILTERS + 1, step)
    }
    for count in range(step, filters + 1, step):
        options = []
        for size, tile in shapes.items():
            if size <= count:
                before = best[count - size]
                options.append((before[0] + cycles(tile, taps=taps, length=length), (tile, *before[1])))
        best[count] = min(
            options, key=lambda option: option[0] * (1 + _KIND * len(set(option[1])) + _SWEEP * len(option[1]))
        )
    return tuple(sorted(best[filters][1], reverse=True))


def _shapes(filters: int) -> list[Tile]:
    return [
        Tile(filters, vectors)
        for vectors in range(1, _MOST_VECTORS + 1)
        if filters * vectors + vectors + 1 <= _REGISTERS
    ]
