"""Resampling: soxr for ourselves, and the windowed sinc that one published front end was trained with."""

import math
from functools import lru_cache

import numpy as np
import soxr
from jaxtyping import Float32, Float64, Int64

from coppice.core.errors import CoppiceError, did_you_mean

RESAMPLERS = ("soxr_hq", "sinc_hann")

# The windowed sinc: zero crossings on either side, and the cut-off as a share of the lower rate's half.
ZERO_CROSSINGS = 6
ROLLOFF = 0.99
_BLOCK_VALUES = 1 << 20


def resample(
    waveform: Float32[np.ndarray, "given"], *, from_hz: int, to_hz: int, resampler: str = "soxr_hq"
) -> Float32[np.ndarray, "samples"]:
    """Bring a waveform to another sample rate.

    Parameters
    ----------
    waveform : ndarray of float32, shape (given,)
        At ``from_hz``.
    from_hz, to_hz : int
        Rates in Hz.
    resampler : {"soxr_hq", "sinc_hann"}
        ``"soxr_hq"``: libsoxr at quality HQ, which librosa takes, too.
        ``"sinc_hann"``: a sinc of 6 zero crossings on either side under a Hann window, cut off at 99 % of the lower
        rate's half: ``torchaudio.functional.resample`` with its defaults (J. O. Smith, "Digital Audio Resampling
        Home Page", 2002). It equals torchaudio 2.11 in float64 to 1e-7; torchaudio's own float32 filters are off by
        1e-5. What lies near the cut-off differs from soxr by several nats of log-mel.

    Returns
    -------
    ndarray of float32
        The waveform itself where the rates are equal. ``"sinc_hann"`` gives ``ceil(given * to_hz / from_hz)``
        samples, and takes the waveform as 0 beyond its ends.

    Raises
    ------
    CoppiceError
        If the resampler is unknown.

    Examples
    --------
    >>> resample(np.ones(441, dtype=np.float32), from_hz=44100, to_hz=32000, resampler="sinc_hann").shape
    (320,)
    """
    if resampler not in RESAMPLERS:
        raise CoppiceError(f"resampler {resampler!r} is unknown. {did_you_mean(resampler, RESAMPLERS)}")
    if from_hz == to_hz:
        return waveform
    if resampler == "soxr_hq":
        return soxr.resample(waveform, from_hz, to_hz, quality="HQ")
    common = math.gcd(from_hz, to_hz)
    step, phases = from_hz // common, to_hz // common
    starts, filters = _sinc_filters(step, phases)
    taps = filters.shape[1]
    reach = (taps - 2) // 2
    padded = np.pad(waveform.astype(np.float64), (reach, taps + step))
    stretches = np.lib.stride_tricks.sliding_window_view(padded, taps)
    samples = -(-len(waveform) * phases // step)
    resampled = np.empty(samples, dtype=np.float32)
    block = max(1, _BLOCK_VALUES // taps)
    for first in range(0, samples, block):
        cycle, phase = np.divmod(np.arange(first, min(first + block, samples)), phases)
        # Each output sample: the stretch of the input around it, times the filter of its place between two samples.
        resampled[first : first + block] = np.einsum(
            "nt,nt->n", stretches[cycle * step + starts[phase]], filters[phase]
        )
    return resampled


@lru_cache(maxsize=2)
def _sinc_filters(step: int, phases: int) -> tuple[Int64[np.ndarray, "phases"], Float64[np.ndarray, "phases taps"]]:
    """Return, for each output sample of one cycle, where its stretch of the input begins, and its filter."""
    cutoff = min(1.0, phases / step) * ROLLOFF  # in half the input rate
    reach = math.ceil(ZERO_CROSSINGS / cutoff)
    starts, between = np.divmod(np.arange(phases) * step, phases)
    t = (np.arange(-reach, reach + 2) - between[:, None] / phases) * cutoff
    t = t.clip(-ZERO_CROSSINGS, ZERO_CROSSINGS)
    return starts, cutoff * np.sinc(t) * np.cos(t * np.pi / (2 * ZERO_CROSSINGS)) ** 2
