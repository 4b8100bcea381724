"""Filters that resemble another one go first.

Singh and Plumbley, "A Passive Similarity based CNN Filter Pruning for Efficient Acoustic Scene
Classification", Interspeech 2022, arXiv 2203.15751.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from coppice.criteria.ranking import Ranking
from coppice.criteria.registry import criterion

FARTHEST = 2.0  # the largest cosine distance: the score of a filter that has no neighbour
DECIMALS = 12  # the last bits depend on the machine; equal distances must stay equal


def prototypes(weight: Float[Tensor, "filters channels *kernel"]) -> Float[Tensor, "filters kernel"]:
    """Return one unit vector per filter: the shape its rank-1 approximation gives the first input channel.

    A filter is a (kernel positions × channels) matrix with singular value decomposition U S Vᵀ; its
    prototype is the first column of u₁v₁ᵀ, normalised, which is u₁ times the sign of v₁[0] (where that is 0,
    of the first entry that is not). With one channel it is the normalised filter itself. Computed from the
    leading eigenvector of the smaller Gram matrix, all filters at once.

    Parameters
    ----------
    weight : Tensor [shape=(filters, channels, *kernel)]
        A linear layer, (filters, channels), counts as kernel of 1.

    Returns
    -------
    Tensor [shape=(filters, kernel positions)], float64
        Rows of norm 1; zeros for a filter that is all zero.

    Examples
    --------
    >>> prototypes(torch.tensor([[[3.0, 4.0]], [[-3.0, -4.0]]])).tolist()
    [[0.6, 0.8], [-0.6, -0.8]]
    """
    filters, channels = weight.shape[:2]
    matrix = weight.to(torch.float64).reshape(filters, channels, -1)
    low, high = torch.aminmax(matrix.flatten(1), dim=1)
    largest = torch.maximum(high, -low)[:, None, None]
    matrix = matrix / torch.where(largest > 0, largest, torch.ones_like(largest))  # squares must not underflow
    if channels < matrix.shape[2]:
        leading = torch.linalg.eigh(matrix @ matrix.mT).eigenvectors[:, :, -1]
        vectors = (leading.unsqueeze(1) @ matrix).squeeze(1)
    else:
        vectors = torch.linalg.eigh(matrix.mT @ matrix).eigenvectors[:, :, -1]
    norms = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    vectors = vectors / torch.where(norms > 0, norms, torch.ones_like(norms))
    projections = (matrix @ vectors.unsqueeze(2)).squeeze(2)
    first = (projections != 0).to(torch.int64).cumsum(dim=1).eq(0).sum(dim=1, keepdim=True)
    sign = projections.gather(1, first.clamp(max=channels - 1)).sign()
    return torch.where(largest.squeeze(2) > 0, vectors * sign, torch.zeros_like(vectors))


def cosine_distances(vectors: Float[Tensor, "filters kernel"]) -> Float[Tensor, "filters filters"]:
    """Return 1 − n_i·n_j for all pairs of prototypes by one matrix product; exactly symmetric.

    Parameters
    ----------
    vectors : Tensor [shape=(filters, kernel positions)]
        From :func:`prototypes`.

    Returns
    -------
    Tensor [shape=(filters, filters)], in [0, 2]
        Rounded to 12 decimals, so that equal pairs stay equal on every machine.

    Examples
    --------
    >>> cosine_distances(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])).tolist()
    [[0.0, 1.0, 2.0], [1.0, 0.0, 1.0], [2.0, 1.0, 0.0]]
    """
    distances = (1.0 - vectors @ vectors.T).clamp(0.0, FARTHEST)
    upper = torch.round(distances, decimals=DECIMALS).triu()
    return upper + upper.triu(1).T


def nearest_distances(distances: Float[Tensor, "filters filters"]) -> Float[Tensor, " filters"]:
    """Return each filter's distance to its nearest other filter.

    Parameters
    ----------
    distances : Tensor [shape=(filters, filters)]
        From :func:`cosine_distances`; two filters or more.

    Returns
    -------
    Tensor [shape=(filters,)]

    Examples
    --------
    >>> nearest_distances(torch.tensor([[0.0, 0.5, 0.5], [0.5, 0.0, 1.0], [0.5, 1.0, 0.0]])).tolist()
    [0.5, 0.5, 0.5]
    """
    return distances.clone().fill_diagonal_(torch.inf).amin(dim=1)


def nearest_neighbours(distances: Float[Tensor, "filters filters"]) -> Int64[Tensor, " filters"]:
    """Return which other filter is nearest to each; of equally near ones the lowest index.

    Parameters
    ----------
    distances : Tensor [shape=(filters, filters)]
        From :func:`cosine_distances`; two filters or more.

    Returns
    -------
    Tensor [shape=(filters,)], int64

    Examples
    --------
    >>> nearest_neighbours(torch.tensor([[0.0, 0.5, 0.5], [0.5, 0.0, 1.0], [0.5, 1.0, 0.0]])).tolist()
    [1, 0, 0]
    """
    others = distances.clone().fill_diagonal_(torch.inf)
    return others.min(dim=1).indices  # the first of several minima


def stable_order(values: Sequence[float]) -> list[int]:
    """Return the indices that sort values; of equal ones the lower index comes first.

    Examples
    --------
    >>> stable_order([2.0, 1.0, 1.0])
    [1, 2, 0]
    """
    return sorted(range(len(values)), key=values.__getitem__)


def redundant_filters(
    distances: Float[Tensor, "filters filters"], *, visit: Callable[[Sequence[float]], list[int]] = stable_order
) -> list[int]:
    """Return the filters that one greedy pass marks redundant, in the order in which it marks them.

    Filters are visited from the most similar to the least. A visited filter that is
    not marked becomes important and marks its nearest neighbour; a marked one is passed over. What was
    important before it was marked stays.

    Parameters
    ----------
    distances : Tensor [shape=(filters, filters)]
        From :func:`cosine_distances`; two filters or more.
    visit : callable
        Sorts: distances to the nearest other filter in, indices out. Decides which of two mutual nearest
        neighbours, whose distances are equal, survives.

    Examples
    --------
    >>> redundant_filters(torch.tensor([[0.0, 0.2, 0.9], [0.2, 0.0, 0.9], [0.9, 0.9, 0.0]]))
    [1]
    """
    nearest, neighbours = nearest_distances(distances), nearest_neighbours(distances).tolist()
    important: set[int] = set()
    marked: dict[int, None] = {}
    for index in visit(nearest.tolist()):
        if index not in marked:
            important.add(index)
            marked.setdefault(neighbours[index])
    return [index for index in marked if index not in important]


@criterion("cosine_similarity")
def cosine_similarity(weight: Float[Tensor, "filters channels *kernel"]) -> Ranking:
    """Rank filters by the cosine distance of their prototypes; the weights say how many are kept.

    The order goes beyond the paper, which has no ratio: first the filters outside its set, in the order in
    which they were marked redundant; then the same pass is applied to the filters that are left, and again,
    until one remains.

    Parameters
    ----------
    weight : Tensor [shape=(filters, channels, *kernel)]

    Returns
    -------
    Ranking
        ``keep`` is the paper's set; ``scores`` are distances to the nearest other filter, 2 if there is none.

    Examples
    --------
    >>> ranking = cosine_similarity(torch.tensor([[[1.0, 0.0]], [[1.0, 0.1]], [[0.0, 1.0]]]))
    >>> ranking.keep, ranking.order
    ((0, 2), (1, 2, 0))
    """
    return rank_by_similarity(weight, name="cosine_similarity", visit=stable_order)


def rank_by_similarity(
    weight: Float[Tensor, "filters channels *kernel"], *, name: str, visit: Callable[[Sequence[float]], list[int]]
) -> Ranking:
    """Return the ranking of :func:`cosine_similarity` under the given name and tie rule.

    Parameters
    ----------
    weight : Tensor [shape=(filters, channels, *kernel)]
    name : str
        Of the criterion.
    visit : callable
        See :func:`redundant_filters`.
    """
    distances = cosine_distances(prototypes(weight))
    filters = len(distances)
    if filters == 1:
        return Ranking(name, order=(0,), scores=(FARTHEST,), keep=(0,))
    scores = tuple(nearest_distances(distances).tolist())
    left = torch.arange(filters)
    order: list[int] = []
    keep: tuple[int, ...] | None = None
    while len(left) > 1:
        gone = redundant_filters(distances, visit=visit)
        order += left[gone].tolist()
        stays = torch.ones(len(left), dtype=torch.bool)
        stays[gone] = False
        left, distances = left[stays], distances[stays][:, stays]
        keep = keep or tuple(left.tolist())
    return Ranking(name, (*order, *left.tolist()), scores, keep)
