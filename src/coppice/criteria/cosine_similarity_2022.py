"""Cosine similarity with the ties of the published sets."""

from jaxtyping import Float
from torch import Tensor

from coppice.criteria.prototypes import prototypes
from coppice.criteria.quicksort import quicksort_order
from coppice.criteria.ranking import Ranking
from coppice.criteria.registry import criterion
from coppice.criteria.similarity_order import rank_by_vectors
from coppice.criteria.threads import one_thread


@criterion("cosine_similarity_2022", as_stored=True)
@one_thread()
def cosine_similarity_2022(weight: Float[Tensor, "filters channels *kernel"]) -> Ranking:
    """Rank as ``cosine_similarity`` does, with the tie rule that the published kept sets were made with.

    Two filters that are each other's nearest neighbour lie equally far from it, so the order of equal values says
    which of them survives. The released scripts of the Interspeech 2022 and DCASE 2022 papers leave that to NumPy's
    default sort of the time, which for layers of more than 16 filters is not stable
    (:func:`coppice.criteria.quicksort.quicksort_order`). Use it to reproduce published sets;
    ``cosine_similarity`` keeps the lower index of such a pair, whatever the others do.

    Parameters
    ----------
    weight : Tensor [shape=(filters, channels, *kernel)]

    Returns
    -------
    Ranking

    Examples
    --------
    >>> import torch
    >>> cosine_similarity_2022(torch.tensor([[[1.0, 0.0]], [[1.0, 0.1]], [[0.0, 1.0]]])).keep
    (0, 2)
    """
    return rank_by_vectors(prototypes(weight), name="cosine_similarity_2022", visit=quicksort_order)
