"""Resampling: soxr for ourselves, and the windowed sinc that one published front end was trained with."""

import numpy as np
import soxr
from jaxtyping import Float32

from coppice.audio.sinc import SincStream
from coppice.core.errors import CoppiceError, did_you_mean

RESAMPLERS = ("soxr_hq", "sinc_hann")


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
    _check(resampler)
    if from_hz == to_hz:
        return waveform
    if resampler == "soxr_hq":
        return soxr.resample(waveform, from_hz, to_hz, quality="HQ")
    stream = SincStream(from_hz, to_hz)
    return np.concatenate((stream.push(waveform), stream.finish()))


class ResampleStream:
    """Brings a waveform that arrives in pieces to another sample rate: as :func:`resample` does the whole of it.

    The resamplers look ahead, so that what comes out lags behind what went in by some milliseconds.

    Parameters
    ----------
    from_hz, to_hz : int
        Rates in Hz.
    resampler : {"soxr_hq", "sinc_hann"}
        See :func:`resample`.

    Raises
    ------
    CoppiceError
        If the resampler is unknown.

    Examples
    --------
    >>> stream = ResampleStream(from_hz=48000, to_hz=44100)
    >>> pieces = [stream.push(np.ones(480, dtype=np.float32)) for _ in range(100)]
    >>> len(np.concatenate((*pieces, stream.finish())))
    44100
    """

    def __init__(self, *, from_hz: int, to_hz: int, resampler: str = "soxr_hq") -> None:
        _check(resampler)
        self._soxr = self._sinc = None
        if from_hz == to_hz:
            return
        if resampler == "soxr_hq":
            self._soxr = soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", quality="HQ")
        else:
            self._sinc = SincStream(from_hz, to_hz)

    def push(self, waveform: Float32[np.ndarray, "given"]) -> Float32[np.ndarray, "samples"]:
        """Take the next piece; return the samples that can be told by now, shape (samples,), perhaps none."""
        if self._soxr is not None:
            return self._soxr.resample_chunk(waveform)
        return waveform if self._sinc is None else self._sinc.push(waveform)

    def finish(self) -> Float32[np.ndarray, "samples"]:
        """Return the last samples; nothing can be pushed afterwards."""
        nothing = np.empty(0, dtype=np.float32)
        if self._soxr is not None:
            return self._soxr.resample_chunk(nothing, last=True)
        return nothing if self._sinc is None else self._sinc.finish()


def _check(resampler: str) -> None:
    if resampler not in RESAMPLERS:
        raise CoppiceError(f"resampler {resampler!r} is unknown. {did_you_mean(resampler, RESAMPLERS)}")
