"""Random order: the baseline that every criterion has to beat."""

import torch
from jaxtyping import Float
from torch import Tensor

from coppice.core.seeds import derive_seed
from coppice.criteria.finite import refuse_not_finite
from coppice.criteria.ranking import Ranking
from coppice.criteria.registry import criterion


@criterion("random", as_stored=True)
def random(weight: Float[Tensor, "filters channels *kernel"], *, seed: int = 0) -> Ranking:
    """Order filters at random; the score is the place in the order.

    Parameters
    ----------
    weight : Tensor [shape=(filters, channels, *kernel)]
        Only the number of filters matters, and whether it is finite.
    seed : int >= 0
        Same seed, same order.

    Returns
    -------
    Ranking
        Without a set of its own.

    Raises
    ------
    CoppiceError
        If a weight is not finite.

    Examples
    --------
    >>> random(torch.zeros(4, 1), seed=1) == random(torch.ones(4, 1), seed=1)
    True
    """
    refuse_not_finite(weight)
    generator = torch.Generator().manual_seed(derive_seed(seed, "random criterion"))
    order = torch.randperm(weight.shape[0], generator=generator)
    return Ranking("random", tuple(order.tolist()), tuple(order.argsort().double().tolist()))
