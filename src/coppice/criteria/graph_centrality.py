"""Filters in the middle of the graph of similarities go first.

Singh and Plumbley, "Graph centrality based filter pruning", arXiv 2305.03391.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from coppice.criteria.betweenness import betweenness_centrality
from coppice.criteria.prototypes import prototypes
from coppice.criteria.ranking import Ranking
from coppice.criteria.registry import criterion
from coppice.criteria.threads import one_thread

DECIMALS = 10  # the last bits depend on the machine; equal centralities must stay equal
BLOCK = 2**17  # similarities at a time: 1 MiB


@criterion("weighted_degree", as_stored=True)
@one_thread()
def weighted_degree(weight: Float[Tensor, "filters channels *kernel"]) -> Ranking:
    """Score each filter by the sum of the cosine similarities of its prototype to all others; the largest goes first.

    Parameters
    ----------
    weight : Tensor [shape=(filters, channels, *kernel)]

    Returns
    -------
    Ranking
        Without a set of its own; scores are minus the sums, so that small goes first as everywhere.

    Raises
    ------
    CoppiceError
        If a weight is not finite.

    Examples
    --------
    >>> weighted_degree(torch.tensor([[[1.0, 0.0]], [[0.8, 0.6]], [[0.0, 1.0]]], dtype=torch.float64)).scores
    (-0.8, -1.4, -0.6)
    """
    vectors = prototypes(weight)
    sums = vectors @ vectors.sum(dim=0) - torch.linalg.vecdot(vectors, vectors)
    return _most_central_first("weighted_degree", sums)


@criterion("absolute_weighted_degree", as_stored=True)
@one_thread()
def absolute_weighted_degree(weight: Float[Tensor, "filters channels *kernel"]) -> Ranking:
    """Score as :func:`weighted_degree` does, by the sum of absolute values: opposite filters count as similar.

    Parameters
    ----------
    weight : Tensor [shape=(filters, channels, *kernel)]

    Returns
    -------
    Ranking
        Without a set of its own; scores are minus the sums, so that small goes first as everywhere.

    Raises
    ------
    CoppiceError
        If a weight is not finite.

    Examples
    --------
    >>> weight = torch.tensor([[[1.0, 0.0]], [[-0.8, 0.6]], [[0.0, 1.0]]], dtype=torch.float64)
    >>> absolute_weighted_degree(weight).scores
    (-0.8, -1.4, -0.6)
    """
    vectors = prototypes(weight)
    step = max(1, BLOCK // len(vectors))
    sums = torch.empty(len(vectors), dtype=torch.float64)
    for first in range(0, len(vectors), step):
        rows = slice(first, first + step)
        torch.sum((vectors[rows] @ vectors.T).abs_(), dim=1, out=sums[rows])
    return _most_central_first("absolute_weighted_degree", sums - torch.linalg.vecdot(vectors, vectors))


@criterion("betweenness", as_stored=True)
@one_thread()
def betweenness(weight: Float[Tensor, "filters channels *kernel"]) -> Ranking:
    """Score each filter by how many shortest paths between two others lead through it; the largest goes first.

    The graph is complete and the length of an edge is the cosine *similarity* of its ends: the released code gives
    similarities to a function that takes them for distances, so similar filters lie far apart, and opposite ones at a
    negative distance. That is kept; see :func:`~coppice.criteria.betweenness.betweenness_centrality`. Time grows with
    the third power of the number of filters.

    Parameters
    ----------
    weight : Tensor [shape=(filters, channels, *kernel)]

    Returns
    -------
    Ranking
        Without a set of its own; scores are minus the centralities, so that small goes first as everywhere.

    Raises
    ------
    CoppiceError
        If a weight is not finite.

    Examples
    --------
    >>> betweenness(torch.tensor([[[1.0, 0.0]], [[0.8, 0.6]], [[0.6, 0.8]], [[-0.1, 1.0]]])).order
    (0, 3, 1, 2)
    """
    vectors = prototypes(weight)
    similarities = (vectors @ vectors.T).numpy()
    lengths = np.triu(similarities, 1)
    return _most_central_first("betweenness", torch.from_numpy(betweenness_centrality(lengths + lengths.T)))


def _most_central_first(name: str, centralities: Float[Tensor, " filters"]) -> Ranking:
    return Ranking.from_scores(name, -torch.round(centralities, decimals=DECIMALS) + 0.0)  # + 0.0: no minus zero
