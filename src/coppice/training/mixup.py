"""Mixup: train on blends of two clips, which keeps a small training set from being learnt by heart."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


def mixup_loss(
    network: nn.Module,
    inputs: Float[Tensor, "clips 1 mels frames"],
    targets: Int[Tensor, " clips"],
    *,
    alpha: float,
) -> Float[Tensor, ""]:
    """Return the cross-entropy of blended clips (Zhang et al., ICLR 2018).

    Every clip is blended with another one of the batch; its own share is the larger of λ and 1 − λ, with λ drawn from
    Beta(α, α) for each clip, as the CP-JKU systems of DCASE do. Random numbers come from torch's global generator.

    Parameters
    ----------
    network : nn.Module
        Takes the blend, returns logits.
    inputs, targets : Tensor
        A batch of log-mel and class indices.
    alpha : float >= 0
        0: no blending, plain cross-entropy.

    Examples
    --------
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(6, 2))
    >>> mixup_loss(net, torch.zeros(4, 1, 2, 3), torch.tensor([0, 1, 0, 1]), alpha=0.3).shape
    torch.Size([])
    """
    if alpha == 0:
        return nn.functional.cross_entropy(network(inputs), targets)
    share = torch.distributions.Beta(alpha, alpha).sample((len(targets),)).to(inputs.device, inputs.dtype)
    share = torch.maximum(share, 1 - share)
    other = torch.randperm(len(targets), device=targets.device)
    wide = share[:, None, None, None]
    logits = network(wide * inputs + (1 - wide) * inputs[other])
    own = nn.functional.cross_entropy(logits, targets, reduction="none")
    others = nn.functional.cross_entropy(logits, targets[other], reduction="none")
    return (share * own + (1 - share) * others).mean()
