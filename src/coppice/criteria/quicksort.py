"""The order in which NumPy's quicksort of 2022 leaves equal values."""

from collections.abc import Sequence

_SMALL = 16  # values


def quicksort_order(values: Sequence[float]) -> list[int]:
    """Return the indices that sort values, with ties in the order of NumPy's quicksort as of 2022.

    That sort is not stable: which of two equal values comes first depends on how the others lie. Published results
    that hang on such ties can only be reproduced by going the same way: the pivot is the median of the first, middle
    and last value, partitions of at most 16 values are sorted by insertion, and the smaller partition is sorted first.
    Newer versions of NumPy sort with vector instructions and leave ties elsewhere. A partition that is split badly
    more than 2 log₂ n times is sorted by insertion here and by a heap there, which no weights are known to need.

    Parameters
    ----------
    values : sequence of float

    Returns
    -------
    list of int
        A permutation of ``range(len(values))``.

    Examples
    --------
    >>> quicksort_order([2.0, 1.0, 1.0])
    [1, 2, 0]
    """
    order = list(range(len(values)))
    pending = [(0, len(order) - 1, 2 * max(0, len(order).bit_length() - 1))]
    while pending:
        left, right, depth = pending.pop()
        while right - left >= _SMALL and depth >= 0:
            split = _partition(order, values, left, right)
            depth -= 1
            if split - left < right - split:
                pending.append((split + 1, right, depth))
                right = split - 1
            else:
                pending.append((left, split - 1, depth))
                left = split + 1
        for place in range(left + 1, right + 1):
            moved, gap = order[place], place
            while gap > left and values[moved] < values[order[gap - 1]]:
                order[gap] = order[gap - 1]
                gap -= 1
            order[gap] = moved
    return order


def _partition(order: list[int], values: Sequence[float], left: int, right: int) -> int:
    """Split at the median of three; return where the pivot ends up."""

    def swap(a: int, b: int) -> None:
        order[a], order[b] = order[b], order[a]

    middle = left + (right - left) // 2
    for low, high in ((left, middle), (middle, right), (left, middle)):
        if values[order[high]] < values[order[low]]:
            swap(low, high)
    pivot = values[order[middle]]
    up, down = left, right - 1
    swap(middle, down)
    while True:
        up += 1
        while values[order[up]] < pivot:
            up += 1
        down -= 1
        while pivot < values[order[down]]:
            down -= 1
        if up >= down:
            break
        swap(up, down)
    swap(up, right - 1)
    return up
