"""Gain: a clip as if it had been recorded louder or softer."""

import math

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from coppice.audio.front_end import FrontEnd
from coppice.core.errors import CoppiceError


def draw_gains(random: np.random.Generator, clips: int, *, decibels: float) -> Float64[np.ndarray, " clips"]:
    """Draw a gain for each clip, in dB, evenly from −decibels to decibels.

    Examples
    --------
    >>> bool(np.abs(draw_gains(np.random.default_rng(0), 9, decibels=6)).max() <= 6)
    True
    """
    return random.uniform(-decibels, decibels, size=clips)


def gain(
    log_mel: Float[Tensor, "clips channels mels frames"], decibels: Float64[np.ndarray, " clips"], front_end: FrontEnd
) -> Float[Tensor, "clips channels mels frames"]:
    """Return the log-mel that the amplified waveforms would have.

    The logarithm is undone, so that the front end's offset is not amplified with the sound: the result equals the
    log-mel of the amplified waveform, apart from rounding. Where a front end lifts faint bands to a floor, what lay
    below it is not known, and stays there.

    Parameters
    ----------
    log_mel : Tensor
        Of the front end, not normalised.
    decibels : ndarray, shape (clips,)
        Gain of each waveform.
    front_end : FrontEnd
        Whose logarithm it is.

    Raises
    ------
    CoppiceError
        If the front end scales each clip by its peak.

    Examples
    --------
    >>> from coppice.audio.front_end import front_end
    >>> gain(torch.tensor([[[[-10.0]]]]), np.array([20.0]), front_end("panns32k"))
    tensor([[[[10.]]]])
    """
    if front_end.clip_scaling is not None:
        raise CoppiceError(
            f"gain cannot be applied with front end {front_end.preset!r}, which scales each clip by its peak; leave it "
            "out."
        )
    values = log_mel * front_end.log_divisor - front_end.log_shift
    to_natural = 1.0 if front_end.log == "natural" else front_end.power * math.log(10) / 20
    energies = (values * to_natural).exp()
    if front_end.log_floor:
        energies = torch.where(energies <= front_end.log_floor * (1 + 1e-5), 0.0, energies)
    energies = (energies - front_end.log_offset).clamp(min=0)
    louder = torch.from_numpy(10 ** (decibels * front_end.power / 20)).to(log_mel.device, log_mel.dtype)
    bands = energies * louder[:, None, None, None] + front_end.log_offset
    if front_end.log_floor:
        bands = bands.clamp(min=front_end.log_floor)
    return (bands.log() / to_natural + front_end.log_shift) / front_end.log_divisor


def silence(front_end: FrontEnd) -> float:
    """Return the log-mel value of a band without any energy.

    Raises
    ------
    CoppiceError
        If the front end scales each clip by its peak, so that there is no such value.

    Examples
    --------
    >>> from coppice.audio.front_end import front_end
    >>> round(silence(front_end("dcase2024")), 3), silence(front_end("panns32k"))
    (-11.513, -100.0)
    """
    if front_end.clip_scaling is not None:
        raise CoppiceError(
            f"front end {front_end.preset!r} scales each clip by its peak, so that silence has no value of its own to "
            "mask with; leave spec_augment out."
        )
    least = max(front_end.log_offset, front_end.log_floor)
    value = math.log(least) if front_end.log == "natural" else 20 / front_end.power * math.log10(least)
    return (value + front_end.log_shift) / front_end.log_divisor
