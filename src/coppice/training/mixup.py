"""Mixup: train on blends of two clips, which keeps a small training set from being learnt by heart."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from coppice.training.teacher import Lesson, taught_loss

_ALL = slice(None)


def mixup_loss(
    network: nn.Module,
    inputs: Float[Tensor, "clips 1 mels frames"],
    targets: Int[Tensor, " clips"],
    *,
    alpha: float,
    soft: Float[Tensor, "clips classes"] | None = None,
    lesson: Lesson | None = None,
    rows: slice = _ALL,
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
    soft : Tensor, optional
        What a teacher says of the clips, blended like the labels.
    lesson : Lesson, optional
        How much that counts: see :func:`coppice.training.teacher.taught_loss`.
    rows : slice
        Of the blended batch, those that are heard and whose mean is returned; all, if not given.

    Examples
    --------
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(6, 2))
    >>> mixup_loss(net, torch.zeros(4, 1, 2, 3), torch.tensor([0, 1, 0, 1]), alpha=0.3).shape
    torch.Size([])
    """
    if alpha == 0:
        logits = network(inputs[rows])
        hard = nn.functional.cross_entropy(logits, targets[rows])
        return _taught(hard, logits, soft if soft is None else soft[rows], lesson)
    share = torch.distributions.Beta(alpha, alpha).sample((len(targets),)).to(inputs.device, inputs.dtype)
    share = torch.maximum(share, 1 - share)[rows]
    other = torch.randperm(len(targets), device=targets.device)[rows]
    wide = share[:, None, None, None]
    logits = network(wide * inputs[rows] + (1 - wide) * inputs[other])
    own = nn.functional.cross_entropy(logits, targets[rows], reduction="none")
    others = nn.functional.cross_entropy(logits, targets[other], reduction="none")
    if soft is not None:
        soft = share[:, None] * soft[rows] + (1 - share[:, None]) * soft[other]
    return _taught((share * own + (1 - share) * others).mean(), logits, soft, lesson)


def _taught(hard: Tensor, logits: Tensor, soft: Tensor | None, lesson: Lesson | None) -> Tensor:
    if soft is None or lesson is None:
        return hard
    return taught_loss(hard, logits, soft, weight=lesson.weight, temperature=lesson.temperature)
