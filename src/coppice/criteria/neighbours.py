"""The nearest other vector of each: the question that similarity criteria ask of a layer."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from coppice.criteria.threads import in_stretches

BLOCK = 2**17  # similarities at a time: 1 MiB, which stays in the cache of a core
ROWS = 512  # the least that is worth a thread

Indices = NDArray[np.int64]
Values = NDArray[np.float64]
NearestOf = Callable[[Indices, Indices], tuple[Indices, Values]]


def nearest(vectors: Float[Tensor, "vectors size"], rows: Indices, *, decimals: int) -> tuple[Indices, Values]:
    """Return which other vector has the smallest distance 1 − n_i·n_j from each of some vectors, and that distance.

    The matrix of all distances is computed in blocks of rows and never stands in memory as a whole.

    Parameters
    ----------
    vectors : Tensor [shape=(vectors, size)], float64
        Two or more.
    rows : array of int [shape=(rows,)]
        For which of the vectors the nearest other one is wanted.
    decimals : int >= 0
        Inner products are rounded to so many decimals, so that equal ones are equal on every machine.

    Returns
    -------
    indices : array of int [shape=(rows,)]
        Of equally near ones the lowest.
    distances : array of float [shape=(rows,)]
        In units of the last decimal: whole numbers.

    Examples
    --------
    >>> vectors = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], dtype=torch.float64)
    >>> nearest(vectors, np.arange(3), decimals=2)
    (array([1, 0, 1]), array([20., 20., 40.]))
    """
    unit = 10.0**decimals
    columns = vectors.T
    wanted = vectors[torch.from_numpy(rows)] * unit  # products are then whole numbers of the last decimal
    step = max(1, BLOCK // len(vectors))

    def stretch(begin: int, end: int) -> tuple[Indices, Values]:
        buffer = torch.empty(min(step, end - begin), len(vectors), dtype=torch.float64)
        found, products = np.empty(end - begin, dtype=np.int64), np.empty(end - begin)
        for first in range(begin, end, step):
            last = min(end, first + step)
            here, there = np.arange(last - first), slice(first - begin, last - begin)
            block = torch.mm(wanted[first:last], columns, out=buffer[: last - first]).numpy()
            block[here, rows[first:last]] = -np.inf  # nobody is its own neighbour
            np.rint(block, out=block)
            found[there] = largest = block.argmax(axis=1)  # the first of equal ones
            products[there] = block[here, largest]
        return found, products

    parts = in_stretches(stretch, len(rows), enough=ROWS)
    products = np.concatenate([part[1] for part in parts])
    return np.concatenate([part[0] for part in parts]), unit - products


def nearest_in_memory(vectors: Float[Tensor, "vectors size"], *, decimals: int) -> NearestOf:
    """Return :func:`nearest` for subsets of some vectors; all distances are computed once and kept.

    Returns
    -------
    callable
        Takes the indices of the vectors that are looked at, ascending, and the places among them for which the
        nearest other one is wanted; returns places and distances.

    Examples
    --------
    >>> vectors = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], dtype=torch.float64)
    >>> nearest_in_memory(vectors, decimals=2)(np.array([0, 2]), np.array([1]))
    (array([0]), array([100.]))
    """
    unit = 10.0**decimals
    products = torch.mm(vectors * unit, vectors.T).numpy()
    np.rint(products, out=products)
    np.fill_diagonal(products, -np.inf)

    places = np.arange(len(products))

    def nearest_of(left: Indices, rows: Indices) -> tuple[Indices, Values]:
        whole = len(rows) == len(products)
        block = products if whole else products[left[rows][:, None], left]
        largest = block.argmax(axis=1)
        return largest, unit - block[places[: len(rows)], largest]

    return nearest_of
