"""The greedy pass of similarity pruning, repeated until one filter is left."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from coppice.criteria.neighbours import Indices, NearestOf, Values, nearest, nearest_in_memory
from coppice.criteria.ranking import Ranking

FARTHEST = 2.0  # the largest cosine distance: the score of a filter that has no neighbour
DECIMALS = 12  # the last bits depend on the machine; equal distances must stay equal
RESIDENT = 256  # of so few filters all distances are computed once and kept
Visit = Callable[[Sequence[float]], list[int]]


def rank_by_vectors(
    vectors: Float[Tensor, "filters size"], *, name: str, decimals: int = DECIMALS, visit: Visit | None = None
) -> Ranking:
    """Rank filters by the distances 1 − n_i·n_j of one vector each: those that resemble another one go first.

    The greedy pass is that of :func:`rank_by_distances`; the matrix of distances never stands in memory.

    Parameters
    ----------
    vectors : Tensor [shape=(filters, size)], float64
        Of norm 1 for cosine distances.
    name : str
        Of the criterion.
    decimals : int >= 0
        To which distances are rounded, so that equal ones are equal on every machine.
    visit : callable, optional
        See :func:`rank_by_distances`.

    Returns
    -------
    Ranking

    Examples
    --------
    >>> vectors = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], dtype=torch.float64)
    >>> rank_by_vectors(vectors, name="mine")
    Ranking(criterion='mine', order=(1, 2, 0), scores=(0.2, 0.2, 0.4), keep=(0, 2))
    """
    resident: NearestOf | None = None
    places = np.empty(len(vectors), dtype=np.int64)

    def nearest_of(left: Indices, rows: Indices) -> tuple[Indices, Values]:
        nonlocal resident
        if len(left) > RESIDENT:
            return nearest(vectors[torch.from_numpy(left)], rows, decimals=decimals)
        if resident is None:
            resident = nearest_in_memory(vectors[torch.from_numpy(left)], decimals=decimals)
            places[left] = np.arange(len(left))
        return resident(places[left], rows)

    return _rank(len(vectors), nearest_of, name, visit, unit=10.0**decimals)


def rank_by_distances(distances: Float[Tensor, "filters filters"], *, name: str, visit: Visit | None = None) -> Ranking:
    """Rank filters by the distances of all pairs: those that resemble another one go first.

    One greedy pass gives the set to keep (Singh and Plumbley, Interspeech 2022): filters are visited from the one
    nearest to another to the one farthest from all; a visited filter that is not marked becomes important and marks
    its nearest neighbour; a marked one is passed over; what was important before it was marked stays. The order goes
    beyond that set: first the filters that the pass marks, as it marks them; then the same pass is applied to the
    filters that are left, and again, until one remains.

    Parameters
    ----------
    distances : Tensor [shape=(filters, filters)]
        Symmetric; the diagonal is not looked at.
    name : str
        Of the criterion.
    visit : callable, optional
        Sorts: distances to the nearest other filter in, indices out. Decides which of two mutual nearest neighbours,
        whose distances are equal, survives; without, the lower index.

    Returns
    -------
    Ranking
        ``keep`` is what the first pass leaves; ``scores`` are distances to the nearest other filter, 2 if there is
        none.

    Examples
    --------
    >>> rank_by_distances(torch.tensor([[0.0, 0.25, 0.75], [0.25, 0.0, 0.75], [0.75, 0.75, 0.0]]), name="mine")
    Ranking(criterion='mine', order=(1, 2, 0), scores=(0.25, 0.25, 0.75), keep=(0, 2))
    """
    matrix = distances.numpy().copy()
    np.fill_diagonal(matrix, np.inf)

    def nearest_of(left: Indices, rows: Indices) -> tuple[Indices, Values]:
        block = matrix[left[rows][:, None], left]
        found = block.argmin(axis=1)  # the first of equal ones
        return found, block[np.arange(len(rows)), found]

    return _rank(len(matrix), nearest_of, name, visit)


def _rank(filters: int, nearest_of: NearestOf, name: str, visit: Visit | None, *, unit: float = 1.0) -> Ranking:
    if filters == 1:
        return Ranking(name, order=(0,), scores=(FARTHEST,), keep=(0,))
    left = np.arange(filters)
    neighbours, distances = nearest_of(left, left)
    scores = tuple(np.maximum(distances / unit, 0.0).tolist())
    order: list[int] = []
    keep: tuple[int, ...] = ()
    while True:
        gone = _redundant(neighbours, distances, visit)
        order += left[gone].tolist()
        stays = np.ones(len(left), dtype=bool)
        stays[gone] = False
        places = stays.cumsum() - 1
        staying = stays.nonzero()[0]
        left, neighbours, distances = left[staying], neighbours[staying], distances[staying]
        keep = keep or tuple(left.tolist())
        if len(left) == 1:
            return Ranking(name, (*order, *left.tolist()), scores, keep)
        widowed = (~stays[neighbours]).nonzero()[0]  # the others keep the neighbour that they have
        neighbours = places[neighbours]
        neighbours[widowed], distances[widowed] = nearest_of(left, widowed)


def _redundant(neighbours: Indices, distances: Values, visit: Visit | None) -> Indices:
    """Return what one greedy pass marks and does not keep, in the order in which it is marked.

    A filter that another one marks is at least as near to its own neighbour as to the other, so it has been visited
    before, unless the distances are equal. Without ties beyond those of mutual nearest neighbours, one of each two of
    these goes, and nothing else.
    """
    filters = np.arange(len(neighbours))
    mutual = neighbours[neighbours] == filters
    first = (mutual & (neighbours > filters)).nonzero()[0]
    distances[neighbours[first]] = distances[first]  # computed twice, they may differ in the last decimal
    if visit is None:
        if np.count_nonzero(distances[neighbours] >= distances) == 2 * len(first):
            return neighbours[first[distances[first].argsort(kind="stable")]]
        visited = distances.argsort(kind="stable").tolist()
    else:
        visited = visit(distances.tolist())
    nearest_to = neighbours.tolist()
    important: set[int] = set()
    marked: dict[int, None] = {}
    for index in visited:
        if index not in marked:
            important.add(index)
            marked.setdefault(nearest_to[index])
    return np.array([index for index in marked if index not in important])
