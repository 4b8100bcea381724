"""What the layers behind can best do without first: backward elimination on their least squares (ours)."""

import torch
from jaxtyping import Float
from torch import Tensor

from coppice.criteria.ranking import Ranking
from coppice.criteria.registry import criterion

RIDGE = 1e-4  # of the mean of the Gram matrix' diagonal


@criterion("reconstruction")
def reconstruction(
    weight: Float[Tensor, "filters channels *kernel"],
    *,
    read_gram: Float[Tensor, "filters taps filters taps"],
    read_weights: Float[Tensor, "filters taps outputs"],
) -> Ranking:
    """Remove, one at a time, the filter without which the layers behind, refitted, come nearest to what they made.

    The distance is that which the network's posteriors see: to second order, the divergence of Kullback and Leibler
    from its own posteriors, position by position. What a removal costs follows from the inverse of the Gram matrix of
    what the layers behind read, block by block, as in the Optimal Brain Surgeon (Hassibi and Stork, NIPS 1992); and so
    do their weights after it. Made for pruning that is followed by least-squares compensation, and needs no labels.

    Parameters
    ----------
    weight : Tensor [shape=(filters, channels, *kernel)]
        Not looked at.
    read_gram : Tensor [shape=(filters, taps, filters, taps)]
        Products of what is read of the filters.
    read_weights : Tensor [shape=(filters, taps, outputs)]
        With which weights, in units of the posteriors.

    Returns
    -------
    Ranking
        Without a set of its own; scores are nats per clip that each removal adds, when its turn comes.

    Examples
    --------
    Of two equal filters one can go; the third is read weakly.

    >>> signals = torch.tensor([[1.0, 1.0, 0.0], [2.0, 2.0, 1.0]])
    >>> gram = (signals.T @ signals)[:, None, :, None]
    >>> reconstruction(torch.zeros(3, 1), read_gram=gram, read_weights=torch.tensor([[[2.0]], [[3.0]], [[0.3]]])).order
    (0, 2, 1)
    """
    filters, taps, outputs = read_weights.shape
    gram = read_gram.reshape(filters * taps, -1)
    values, vectors = torch.linalg.eigh(gram)
    values = values.clamp(min=0)  # below it stands nothing but rounding
    scale = values.mean()  # that of the diagonal
    values += RIDGE * (scale if scale > 0 else 1.0)
    inverse = ((vectors / values) @ vectors.T).reshape(filters, taps, filters, taps)
    weights = read_weights.clone()
    every = torch.arange(filters)
    costs, order = torch.zeros(filters, dtype=gram.dtype), []
    gone = torch.zeros(filters, dtype=torch.bool)
    for _ in range(filters):
        blocks = inverse[every, :, every, :]
        rises = (weights * torch.linalg.solve(blocks, weights)).sum((1, 2)) / 2
        leaves = int(rises.masked_fill(gone, torch.inf).argmin())
        costs[leaves] = rises[leaves]
        order.append(leaves)
        gone[leaves] = True
        column = inverse[:, :, leaves]
        share = torch.linalg.solve(blocks[leaves], torch.cat([weights[leaves], inverse[leaves].flatten(1)], dim=1))
        weights -= column @ share[:, :outputs]
        inverse -= (column.reshape(-1, taps) @ share[:, outputs:]).reshape(inverse.shape)
        weights[leaves] = inverse[leaves] = inverse[:, :, leaves] = 0.0
        inverse[leaves, :, leaves] = torch.eye(taps, dtype=gram.dtype)
    return Ranking("reconstruction", tuple(order), tuple(costs.tolist()))
