"""Buffers that share one block of memory, where they are not needed at the same time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ALIGNMENT = 64  # bytes: a line of the cache, and the widest vector


@dataclass(frozen=True)
class Buffer:
    """Memory that is needed for a while.

    Attributes
    ----------
    name : str
    size_bytes : int
    first, last : int
        The steps between which it is needed, both included.
    """

    name: str
    size_bytes: int
    first: int
    last: int


@dataclass(frozen=True)
class Placement:
    """Where each buffer begins.

    Attributes
    ----------
    offsets : dict of str to int
        In bytes, multiples of :data:`ALIGNMENT`.
    peak_bytes : int
        Where the last one ends.
    """

    offsets: dict[str, int]
    peak_bytes: int


def placed(buffers: Sequence[Buffer]) -> Placement:
    """Lay buffers into one block so that those needed at the same time do not overlap.

    Finding the smallest block is a hard problem; here the best of three orders is taken, in each of which a buffer goes
    into the first gap that holds it.

    Parameters
    ----------
    buffers : sequence of Buffer

    Returns
    -------
    Placement

    Examples
    --------
    >>> placed([Buffer("x", 100, 0, 1), Buffer("y", 60, 1, 2), Buffer("z", 30, 2, 3)])
    Placement(offsets={'x': 0, 'y': 128, 'z': 0}, peak_bytes=188)
    """
    orders = (
        sorted(buffers, key=lambda b: (-b.size_bytes, b.first)),
        sorted(buffers, key=lambda b: (b.first - b.last, -b.size_bytes)),
        sorted(buffers, key=lambda b: (b.first, -b.size_bytes)),
    )
    return min((_in_order(order, buffers) for order in orders), key=lambda placement: placement.peak_bytes)


def most_needed(buffers: Sequence[Buffer], steps: int) -> int:
    """Return the step at which most bytes are needed at once: below that, no block can go.

    Examples
    --------
    >>> most_needed([Buffer("x", 100, 0, 1), Buffer("y", 60, 1, 2)], 3)
    1
    """
    needed = [sum(b.size_bytes for b in buffers if b.first <= step <= b.last) for step in range(steps)]
    return needed.index(max(needed))


def _in_order(order: Sequence[Buffer], buffers: Sequence[Buffer]) -> Placement:
    offsets: dict[str, int] = {}
    done: list[Buffer] = []
    for buffer in order:
        beside = [b for b in done if b.first <= buffer.last and buffer.first <= b.last]
        offsets[buffer.name] = _first_gap(buffer.size_bytes, beside, offsets)
        done.append(buffer)
    peak = max((offsets[b.name] + b.size_bytes for b in buffers), default=0)
    return Placement({b.name: offsets[b.name] for b in buffers}, peak)


def _first_gap(size: int, beside: Sequence[Buffer], offsets: Mapping[str, int]) -> int:
    begin = 0
    for other in sorted(beside, key=lambda b: offsets[b.name]):
        if offsets[other.name] - begin >= size:
            break
        begin = max(begin, _aligned(offsets[other.name] + other.size_bytes))
    return begin


def _aligned(position: int) -> int:
    return -(-position // ALIGNMENT) * ALIGNMENT
