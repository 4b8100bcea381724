"""Filters whose maps resemble another's go first.

The greedy pass of Singh and Plumbley (Interspeech 2022, arXiv 2203.15751), with what filters hand on for some clips in
place of their weights.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from coppice.criteria.ranking import Ranking
from coppice.criteria.registry import criterion
from coppice.criteria.similarity_order import DECIMALS, FARTHEST, rank_by_distances
from coppice.criteria.summaries import summary


@summary
def map_products(maps: Float[Tensor, "clips filters *positions"]) -> Float[Tensor, "filters filters"]:
    """Return the mean over clips of the inner products of all pairs of filters' maps.

    Examples
    --------
    >>> map_products(torch.tensor([[[1.0, 0.0], [2.0, 1.0]]])).tolist()
    [[1.0, 2.0], [2.0, 5.0]]
    """
    rows = maps.transpose(0, 1).flatten(1)
    return rows @ rows.T / len(maps)


def map_distances(products: Float[Tensor, "filters filters"]) -> Float[Tensor, "filters filters"]:
    """Return the cosine distance of all pairs of filters' maps; exactly symmetric.

    Parameters
    ----------
    products : Tensor [shape=(filters, filters)]
        From :func:`map_products`; none of the maps is all zero.

    Returns
    -------
    Tensor [shape=(filters, filters)], in [0, 2]
        Rounded to 12 decimals, so that equal pairs stay equal on every machine.

    Examples
    --------
    >>> map_distances(torch.tensor([[1.0, 1.0], [1.0, 4.0]])).tolist()
    [[0.0, 0.5], [0.5, 0.0]]
    """
    norms = products.diagonal().sqrt()
    distances = (1.0 - products / norms / norms[:, None]).clamp(0.0, FARTHEST)
    upper = torch.round(distances, decimals=DECIMALS).triu(1)
    return upper + upper.T


@criterion("feature_map_similarity")
def feature_map_similarity(
    weight: Float[Tensor, "filters channels *kernel"], *, map_products: Float[Tensor, "filters filters"]
) -> Ranking:
    """Rank filters by the cosine distance of their maps over all clips; the maps say how many are kept.

    Of filters whose maps resemble each other, one greedy pass keeps one, as in
    :func:`~coppice.criteria.cosine_similarity.cosine_similarity`; the order is continued beyond that set in the same
    way. A filter that hands on nothing but zeros goes before all others.

    Parameters
    ----------
    weight : Tensor [shape=(filters, channels, *kernel)]
        Not looked at.
    map_products : Tensor [shape=(filters, filters)]

    Returns
    -------
    Ranking
        ``keep`` is the set of the greedy pass; ``scores`` are distances to the nearest other filter, 2 if there is
        none, 0 for a filter that hands on nothing.

    Examples
    --------
    >>> maps = torch.tensor([[[1.0, 0.0, 0.0], [1.0, 0.1, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]])
    >>> ranking = feature_map_similarity(torch.zeros(4, 1), map_products=map_products(maps))
    >>> ranking.keep, ranking.order
    ((0, 2), (3, 1, 2, 0))
    """
    name = "feature_map_similarity"
    speaks = map_products.diagonal() > 0
    alive, silent = speaks.nonzero().flatten().tolist(), (~speaks).nonzero().flatten().tolist()
    if not alive:
        return Ranking(name, tuple(silent), (0.0,) * len(silent), keep=(silent[-1],))
    ranking = rank_by_distances(map_distances(map_products[speaks][:, speaks]), name=name)
    scores = [0.0] * len(map_products)
    for index, score in zip(alive, ranking.scores, strict=True):
        scores[index] = score
    keep = None if ranking.keep is None else tuple(alive[index] for index in ranking.keep)
    return Ranking(name, (*silent, *(alive[index] for index in ranking.order)), tuple(scores), keep)
