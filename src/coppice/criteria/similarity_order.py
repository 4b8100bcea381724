"""The greedy pass of similarity pruning, repeated until one filter is left."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float
from torch import Tensor

from coppice.criteria.neighbours import Distances, Indices, MatrixDistances, Values, VectorDistances
from coppice.criteria.ranking import Ranking

FARTHEST = 2.0  # the largest cosine distance: the score of a filter that has no neighbour
DECIMALS = 12  # the last bits depend on the machine; equal distances must stay equal
FEW = 12  # filters for which lists are quicker than arrays
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
    >>> import torch
    >>> vectors = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], dtype=torch.float64)
    >>> rank_by_vectors(vectors, name="mine")
    Ranking(criterion='mine', order=(1, 2, 0), scores=(0.2, 0.2, 0.4), keep=(0, 2))
    """
    distances = VectorDistances(vectors, decimals=decimals)
    return _rank(len(vectors), distances, name, visit, unit=distances.unit)


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
    >>> import torch
    >>> rank_by_distances(torch.tensor([[0.0, 0.25, 0.75], [0.25, 0.0, 0.75], [0.75, 0.75, 0.0]]), name="mine")
    Ranking(criterion='mine', order=(1, 2, 0), scores=(0.25, 0.25, 0.75), keep=(0, 2))
    """
    return _rank(len(distances), MatrixDistances(distances.numpy().copy()), name, visit)


def _rank(filters: int, metric: Distances, name: str, visit: Visit | None, *, unit: float = 1.0) -> Ranking:
    if filters == 1:
        return Ranking(name, order=(0,), scores=(FARTHEST,), keep=(0,))
    left = np.arange(filters)
    neighbours, distances = metric.nearest(left, left)
    scores = tuple(np.maximum(distances / unit, 0.0).tolist())
    order: list[int] = []
    keep: tuple[int, ...] = ()
    while not keep or len(left) > FEW:
        gone = _redundant(neighbours, distances, visit)
        order += left[gone].tolist()
        stays = np.ones(len(left), dtype=bool)
        stays[gone] = False
        places = stays.cumsum() - 1
        staying = stays.nonzero()[0]
        left, neighbours, distances = left[staying], neighbours[staying], distances[staying]
        keep = keep or tuple(left.tolist())
        if len(left) > FEW:
            widowed = (~stays[neighbours]).nonzero()[0]  # the others keep the neighbour that they have
            neighbours = places[neighbours]
            neighbours[widowed], distances[widowed] = metric.nearest(left, widowed)
    return Ranking(name, (*order, *_order_of_few(left, metric, visit)), scores, keep)


def _order_of_few(left: Indices, metric: Distances, visit: Visit | None) -> list[int]:
    """Go on with the same pass until one is left, in lists."""
    matrix = metric.among(left)
    rows: list[list[float]] = np.minimum(matrix, matrix.T).tolist()  # computed twice, they may differ in the last bit
    here: list[int] = left.tolist()
    order = []
    while len(here) > 1:
        distances = [min(row) for row in rows]
        gone = _marked([row.index(least) for row, least in zip(rows, distances, strict=True)], distances, visit)
        order += [here[index] for index in gone]
        staying = [index for index in range(len(here)) if index not in gone]
        here, rows = (
            [here[index] for index in staying],
            [[rows[index][other] for other in staying] for index in staying],
        )
    return order + here


def _redundant(neighbours: Indices, distances: Values, visit: Visit | None) -> Indices | list[int]:
    """Return what one greedy pass marks and does not keep, in the order in which it is marked.

    A filter that another one marks is at least as near to its own neighbour as to the other, so it has been visited
    before, unless the distances are equal. Without ties beyond those of mutual nearest neighbours, one of each two of
    these goes, and nothing else.
    """
    filters = np.arange(len(neighbours))
    first = ((neighbours[neighbours] == filters) & (neighbours > filters)).nonzero()[0]
    distances[neighbours[first]] = distances[first]  # computed twice, they may differ in the last bit
    if visit is None and np.count_nonzero(distances[neighbours] >= distances) == 2 * len(first):
        return neighbours[first[distances[first].argsort(kind="stable")]]
    return _marked(neighbours.tolist(), distances.tolist(), visit)


def _marked(neighbours: Sequence[int], distances: Sequence[float], visit: Visit | None) -> list[int]:
    """Go through the filters one by one; return what is marked and not kept."""
    important: set[int] = set()
    marked: dict[int, None] = {}
    for index in visit(distances) if visit else sorted(range(len(distances)), key=distances.__getitem__):
        if index not in marked:
            important.add(index)
            marked.setdefault(neighbours[index])
    return [index for index in marked if index not in important]
