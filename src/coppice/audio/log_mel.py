"""Waveform to log-mel: framed real FFT, then the filterbank as one matrix product."""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from coppice.audio.front_end import FrontEnd
from coppice.audio.windows import window
from coppice.core.errors import CoppiceError

# Frames are transformed a block at a time, so that a block and its spectrum stay in the processor's cache.
BLOCK_SAMPLES = 1 << 17


@lru_cache(maxsize=32)
def _constants(front_end: FrontEnd, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return the window in the middle of the FFT, and the filterbank as (bins, mels)."""
    before = (front_end.n_fft - front_end.win_length) // 2
    after = front_end.n_fft - front_end.win_length - before
    shape = torch.from_numpy(np.pad(window(front_end.window, front_end.win_length), (before, after))).to(dtype)
    bank = torch.from_numpy(front_end.filterbank().T.copy()).to(dtype)
    return shape, bank


def _band_energies(
    framed: Float[Tensor, "frames n_fft"], shape: Tensor, bank: Tensor, power: float
) -> Float[Tensor, "frames mels"]:
    spectrum = torch.fft.rfft(framed * shape)
    # Real and imaginary part apart: three times as fast as abs(), whose hypot guards against overflow.
    energy = spectrum.real.square().add_(spectrum.imag.square())
    return (energy.sqrt_() if power == 1.0 else energy) @ bank


def log_mel(
    waveform: Float[Tensor, "samples"] | np.ndarray,
    front_end: FrontEnd,
    *,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "mels frames"]:
    """Compute the log-mel picture of one clip.

    Parameters
    ----------
    waveform : Tensor or ndarray, shape (samples,)
        At the front end's sample rate, any length above ``n_fft // 2``; full scale is [-1, 1].
    front_end : FrontEnd
        All constants.
    dtype : {torch.float32, torch.float64}
        Precision of every step. float64 equals librosa to 1e-6 nats. float32 is over twice as fast. On real
        recordings it differs by at most 0.0004 nats (``dcase2021``) or 0.009 nats (``logmel``), the most in
        bands that are nearly silent. Where one band is more than 130 dB above another, as beside a pure tone,
        the weaker one drowns in float32's rounding.

    Returns
    -------
    Tensor, shape (n_mels, samples // hop_length)
        Natural logarithm of the band energies.

    Raises
    ------
    CoppiceError
        If the waveform is not one-dimensional, not floating-point or too short, or the dtype is another.

    Examples
    --------
    >>> from coppice.audio.front_end import front_end
    >>> log_mel(torch.zeros(44100), front_end("dcase2021", duration_s=1.0)).shape
    torch.Size([40, 50])
    """
    if dtype not in (torch.float32, torch.float64):
        raise CoppiceError(f"dtype is {dtype}; give torch.float32 or torch.float64.")
    signal = torch.as_tensor(waveform)
    if signal.ndim != 1 or not signal.is_floating_point():
        raise CoppiceError(
            f"a waveform has shape (samples,) and real numbers, not {tuple(signal.shape)} {signal.dtype}."
        )
    half = front_end.n_fft // 2
    frames = signal.numel() // front_end.hop_length
    if signal.numel() <= half or frames < 1:
        raise CoppiceError(
            f"the waveform has {signal.numel()} samples; give at least {max(half + 1, front_end.hop_length)}."
        )
    shape, bank = _constants(front_end, dtype)
    signal = signal.to(dtype)
    if front_end.waveform_offset:
        signal = signal + front_end.waveform_offset
    mirrored = torch.cat((signal[1 : half + 1].flip(0), signal, signal[-half - 1 : -1].flip(0)))
    framed = mirrored.unfold(0, front_end.n_fft, front_end.hop_length)[:frames]
    block = max(1, BLOCK_SAMPLES // front_end.n_fft)
    bands = torch.cat([_band_energies(part, shape, bank, front_end.power) for part in framed.split(block)])
    return bands.add_(front_end.log_offset).log_().T.contiguous()
