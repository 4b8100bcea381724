"""Mel scales and the mel filterbank, in float64."""

from functools import lru_cache

import numpy as np
from jaxtyping import Float64

from coppice.core.errors import CoppiceError, did_you_mean

SCALES = ("slaney", "htk", "kaldi")

# Slaney, "Auditory Toolbox", Interval Research TR 1998-010: linear below 1 kHz, logarithmic above.
_SLANEY_HZ_PER_MEL = 200.0 / 3
_SLANEY_BREAK_HZ = 1000.0
_SLANEY_BREAK_MEL = _SLANEY_BREAK_HZ / _SLANEY_HZ_PER_MEL
_SLANEY_LOG_STEP = np.log(6.4) / 27.0


def _known_scale(scale: str) -> None:
    if scale not in SCALES:
        raise CoppiceError(f"mel_scale {scale!r} is unknown. {did_you_mean(scale, SCALES)}")


def hz_to_mel(frequencies_hz: Float64[np.ndarray, "*n"] | float, *, scale: str) -> Float64[np.ndarray, "*n"]:
    """Convert frequencies to mels.

    Parameters
    ----------
    frequencies_hz : float or ndarray, >= 0
        In Hz.
    scale : {"slaney", "htk", "kaldi"}
        Slaney's Auditory Toolbox (1998); ``2595 log10(1 + f / 700)`` of the HTK book (section 5.6);
        ``1127 ln(1 + f / 700)`` of Kaldi (``feat/mel-computations.h``).

    Returns
    -------
    ndarray of float64
        Mels, same shape.

    Raises
    ------
    CoppiceError
        If the scale is unknown.

    Examples
    --------
    >>> round(float(hz_to_mel(500.0, scale="slaney")), 9)
    7.5
    """
    _known_scale(scale)
    hz = np.asarray(frequencies_hz, dtype=np.float64)
    if scale == "htk":
        return np.asarray(2595.0 * np.log10(1.0 + hz / 700.0))
    if scale == "kaldi":
        return np.asarray(1127.0 * np.log(1.0 + hz / 700.0))
    above = _SLANEY_BREAK_MEL + np.log(np.maximum(hz, _SLANEY_BREAK_HZ) / _SLANEY_BREAK_HZ) / _SLANEY_LOG_STEP
    return np.where(hz >= _SLANEY_BREAK_HZ, above, hz / _SLANEY_HZ_PER_MEL)


def mel_to_hz(mels: Float64[np.ndarray, "*n"] | float, *, scale: str) -> Float64[np.ndarray, "*n"]:
    """Convert mels to frequencies in Hz: the inverse of :func:`hz_to_mel`.

    Examples
    --------
    >>> round(float(mel_to_hz(7.5, scale="slaney")), 9)
    500.0
    """
    _known_scale(scale)
    mel = np.asarray(mels, dtype=np.float64)
    if scale == "htk":
        return np.asarray(700.0 * (10.0 ** (mel / 2595.0) - 1.0))
    if scale == "kaldi":
        return np.asarray(700.0 * (np.exp(mel / 1127.0) - 1.0))
    above = _SLANEY_BREAK_HZ * np.exp(_SLANEY_LOG_STEP * (np.maximum(mel, _SLANEY_BREAK_MEL) - _SLANEY_BREAK_MEL))
    return np.where(mel >= _SLANEY_BREAK_MEL, above, mel * _SLANEY_HZ_PER_MEL)


@lru_cache(maxsize=32)
def mel_filterbank(
    *,
    sample_rate: int,
    n_fft: int,
    n_mels: int,
    fmin_hz: float,
    fmax_hz: float,
    scale: str = "slaney",
    norm: str | None = "slaney",
) -> Float64[np.ndarray, "mels bins"]:
    """Build triangular mel bands over the bins of a real FFT.

    Parameters
    ----------
    sample_rate : int
        In Hz.
    n_fft : int
        FFT length in samples; there are ``n_fft // 2 + 1`` bins.
    n_mels : int >= 1
        Bands.
    fmin_hz, fmax_hz : float
        Lower edge of the first and upper edge of the last band.
    scale : {"slaney", "htk", "kaldi"}
        See :func:`hz_to_mel`. The sides of the triangles are straight over Hz, for ``"kaldi"`` over mels (Kaldi,
        ``feat/mel-computations.cc``).
    norm : {"slaney", None}
        ``"slaney"``: every triangle has area 1 (in Hz); None: every triangle has height 1, the only choice for
        ``"kaldi"``.

    Returns
    -------
    ndarray of float64, shape (n_mels, n_fft // 2 + 1)
        Read-only weights >= 0. Equal to ``librosa.filters.mel(..., dtype=float64)`` to 1e-12 for ``"slaney"`` and
        ``"htk"``.

    Raises
    ------
    CoppiceError
        If a name is unknown, ``"kaldi"`` is to be normalised, or a band is so narrow that no FFT bin falls into it.

    Examples
    --------
    >>> mel_filterbank(sample_rate=44100, n_fft=2048, n_mels=40, fmin_hz=0.0, fmax_hz=22050.0).shape
    (40, 1025)
    """
    if norm not in ("slaney", None):
        raise CoppiceError(f"mel_norm is {norm!r}; give 'slaney' or none.")
    if scale == "kaldi" and norm is not None:
        raise CoppiceError(f"mel_norm is {norm!r}, which the mel_scale 'kaldi' does not have; set mel_norm to none.")
    low, high = float(hz_to_mel(fmin_hz, scale=scale)), float(hz_to_mel(fmax_hz, scale=scale))
    edges_mel = np.linspace(low, high, n_mels + 2)
    edges_hz = mel_to_hz(edges_mel, scale=scale)
    bins_hz = np.fft.rfftfreq(n_fft, 1.0 / sample_rate)
    edges, bins = (edges_mel, hz_to_mel(bins_hz, scale=scale)) if scale == "kaldi" else (edges_hz, bins_hz)
    slopes = edges[:, None] - bins[None, :]
    widths = np.diff(edges)[:, None]
    weights = np.maximum(0.0, np.minimum(-slopes[:-2] / widths[:-1], slopes[2:] / widths[1:]))
    empty = np.flatnonzero(weights.max(axis=1) == 0)
    if empty.size:
        raise CoppiceError(
            f"{empty.size} of {n_mels} mel bands, the first at {edges_hz[empty[0] + 1]:.0f} Hz, "
            f"contain no FFT bin (bins lie {sample_rate / n_fft:.1f} Hz apart); "
            "use fewer n_mels or a larger n_fft."
        )
    if norm == "slaney":
        weights *= (2.0 / (edges_hz[2:] - edges_hz[:-2]))[:, None]
    weights.setflags(write=False)
    return weights
