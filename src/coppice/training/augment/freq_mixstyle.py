"""Freq-MixStyle: every clip gets, band by band, some of the level and spread of another one."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

EPS = 1e-6


@dataclass(frozen=True, eq=False)
class Mix:
    """Who is mixed with whom, and how much of itself each keeps.

    Parameters
    ----------
    own : ndarray, shape (clips,)
        λ, in [0, 1].
    other : ndarray of int, shape (clips,)
        A permutation.
    """

    own: Float64[np.ndarray, " clips"]
    other: Int[np.ndarray, " clips"]


def draw_mix(random: np.random.Generator, clips: int, *, probability: float, alpha: float) -> Mix | None:
    """Draw whether a batch is mixed at all, then λ from Beta(α, α) and a partner for each clip.

    Examples
    --------
    >>> draw_mix(np.random.default_rng(0), 4, probability=0, alpha=0.3) is None
    True
    """
    if random.random() >= probability:
        return None
    return Mix(random.beta(alpha, alpha, size=clips), random.permutation(clips))


def freq_mixstyle(
    inputs: Float[Tensor, "clips channels mels frames"], mix: Mix
) -> Float[Tensor, "clips channels mels frames"]:
    """Normalise every band of every clip, and give it the mixed mean and standard deviation of two clips.

    Schmid et al., "CP-JKU submission to DCASE22" (after Zhou et al., MixStyle, ICLR 2021), with the constants of their
    released code: statistics over channel and time for each band, the variance unbiased, 1e-6 added to it, no gradient
    through the statistics; λ for each clip, one decision for the whole batch. On log-mel that a front end's bands were
    normalised of, it is the same but for the 1e-6.

    Parameters
    ----------
    inputs : Tensor
        Log-mel, normalised or not.
    mix : Mix
        See :func:`draw_mix`.

    Examples
    --------
    >>> alone = Mix(np.ones(2), np.array([1, 0]))
    >>> clips = torch.randn(2, 1, 3, 5)
    >>> torch.allclose(freq_mixstyle(clips, alone), clips, atol=1e-5)
    True
    """
    mean = inputs.mean(dim=(1, 3), keepdim=True).detach()
    spread = (inputs.var(dim=(1, 3), keepdim=True) + EPS).sqrt().detach()
    own = torch.from_numpy(mix.own).to(inputs.device, inputs.dtype)[:, None, None, None]
    other = torch.from_numpy(mix.other).to(inputs.device)
    mixed_mean = own * mean + (1 - own) * mean[other]
    mixed_spread = own * spread + (1 - own) * spread[other]
    return (inputs - mean) / spread * mixed_spread + mixed_mean
