"""Filters that resemble another one go first.

Singh and Plumbley, "A Passive Similarity based CNN Filter Pruning for Efficient Acoustic Scene
Classification", Interspeech 2022, arXiv 2203.15751.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from coppice.criteria.prototypes import prototypes
from coppice.criteria.ranking import Ranking
from coppice.criteria.registry import criterion
from coppice.criteria.similarity_order import DECIMALS, FARTHEST, rank_by_vectors
from coppice.criteria.threads import one_thread


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


@criterion("cosine_similarity", as_stored=True)
@one_thread()
def cosine_similarity(weight: Float[Tensor, "filters channels *kernel"]) -> Ranking:
    """Rank filters by the cosine distance of their prototypes; the weights say how many are kept.

    A prototype is the shape that a filter's rank-1 approximation gives the first input channel
    (:func:`~coppice.criteria.prototypes.prototypes`). Of filters whose prototypes resemble each other, one greedy
    pass keeps one; the order is continued beyond the paper, which has no ratio
    (:func:`~coppice.criteria.similarity_order.rank_by_distances`).

    Parameters
    ----------
    weight : Tensor [shape=(filters, channels, *kernel)]

    Returns
    -------
    Ranking
        ``keep`` is the paper's set; ``scores`` are distances to the nearest other filter, 2 if there is none.

    Raises
    ------
    CoppiceError
        If a weight is not finite.

    Examples
    --------
    >>> ranking = cosine_similarity(torch.tensor([[[1.0, 0.0]], [[1.0, 0.1]], [[0.0, 1.0]]]))
    >>> ranking.keep, ranking.order
    ((0, 2), (1, 2, 0))
    """
    return rank_by_vectors(prototypes(weight), name="cosine_similarity")
