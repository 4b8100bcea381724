"""One thread for work on small matrices: more would only wait for each other."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Result = TypeVar("Result")
_outside = threading.local()  # how many threads torch has outside of the block


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread inside the block, or inside the function that this decorates.

    Thousands of products of small matrices gain nothing from threads that meet after each of them, and lose up to
    500-fold where another program, or another library's threads, occupy a core meanwhile. Large layers are divided by
    :func:`in_stretches` instead.

    Examples
    --------
    >>> with one_thread():
    ...     torch.get_num_threads()
    1
    """
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    _outside.threads = threads
    try:
        yield
    finally:
        del _outside.threads
        torch.set_num_threads(threads)


def in_stretches(function: Callable[[int, int], Result], length: int, *, enough: int) -> list[Result]:
    """Call ``function(begin, end)`` for stretches of ``range(length)``, side by side on torch's number of threads.

    The threads meet once, at the end; each computes alone.

    Parameters
    ----------
    function : callable
    length : int >= 1
    enough : int >= 1
        The least that makes a stretch of its own worth while.

    Returns
    -------
    list
        Results in the order of the stretches.

    Examples
    --------
    >>> in_stretches(lambda begin, end: (begin, end), 10, enough=20)
    [(0, 10)]
    """
    threads = getattr(_outside, "threads", None) or torch.get_num_threads()
    workers = max(1, min(threads, length // enough))
    if workers == 1:
        with one_thread():
            return [function(0, length)]
    bounds = [length * worker // workers for worker in range(workers + 1)]
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(function, bounds[:-1], bounds[1:]))
    finally:
        torch.set_num_threads(before)  # a part of the setting is shared by all threads
