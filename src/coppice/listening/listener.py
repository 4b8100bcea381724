"""What a classifier hears in sound that arrives now: a pure machine, samples in, posteriors out."""

import time
from array import array
from collections import deque
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Float64

from coppice.audio.clip_stream import Clip, ClipStream
from coppice.core.errors import CoppiceError
from coppice.evaluation.hears import Hears

HOP_S = 0.5
SMOOTH = 3


@dataclass(frozen=True)
class Heard:
    """What is heard in one window.

    Attributes
    ----------
    start_s, end_s : float
        Where the window lies, in seconds of sound.
    label : str
        The class with the largest smoothed posterior.
    posteriors : dict
        Class -> posterior of this window, in [0, 1].
    smoothed : dict
        Class -> mean posterior of this window and the last ones before it.
    latency_ms : float
        From the arrival of the window's last block to this result.
    load : float or None
        Seconds of computing for a second of sound, since the last window; None for a window that the end of the sound
        completes, as there is less sound than usual before it.
    remark : str or None
        ``"silent"`` where every sample is 0, ``"not numbers"`` or ``"clipped"`` where such samples came since the last
        window.
    """

    start_s: float
    end_s: float
    label: str
    posteriors: dict[str, float]
    smoothed: dict[str, float]
    latency_ms: float
    load: float | None
    remark: str | None


class Listener:
    """Hears a window every hop while samples are pushed, and measures itself.

    The windows are those of :func:`coppice.evaluation.classify.classify` with the same hop: a file that is pushed
    through, in pieces of any size, gives the same posteriors.

    Parameters
    ----------
    classifier : Classifier or OnnxClassifier
        What hears.
    sample_rate : int
        Of the samples, in Hz; another than the front end's is resampled.
    hop_s : float, optional
        Seconds from one window to the next; half a second, or a whole clip where that is shorter, if not given.
    smooth : int >= 1
        How many windows the posterior is averaged over.

    Attributes
    ----------
    windows : int
        How many windows were heard so far.
    computing_s : float
        Seconds spent on them, resampling included.
    latencies_ms : array of float
        Latency of each window.

    Raises
    ------
    CoppiceError
        If hop or smoothing cannot be, or the classifier's front end is not known.

    Examples
    --------
    >>> from coppice.audio.front_end import front_end
    >>> from coppice.networks.classifier import Classifier
    >>> from coppice.networks.dcase2021 import DCASE2021
    >>> ear, bands = front_end("dcase2021", duration_s=1.0), (torch.zeros(40), torch.ones(40))
    >>> one = Classifier(DCASE2021(widths=(2, 2, 2), frames=50), ear, tuple("abcdefghij"), *bands)
    >>> listener = Listener(one, sample_rate=44100)
    >>> [heard.end_s for _ in range(20) for heard in listener.push(np.full((4410, 1), 0.1, dtype=np.float32))]
    [1.0, 1.5, 2.0]
    """

    def __init__(
        self, classifier: Hears, *, sample_rate: int, hop_s: float | None = None, smooth: int = SMOOTH
    ) -> None:
        if smooth < 1:
            raise CoppiceError(f"smooth is {smooth} windows; give at least 1, which smooths nothing.")
        front_end = classifier.known_front_end()
        hop_s = min(HOP_S, front_end.duration_s) if hop_s is None else hop_s
        self.clip_s = front_end.duration_s
        self.hop_s = hop_s
        self.windows = 0
        self.computing_s = 0.0
        self.latencies_ms = array("d")
        self._classifier = classifier
        self._clips = ClipStream(front_end, sample_rate=sample_rate, hop_s=hop_s)
        self._last: deque[np.ndarray] = deque(maxlen=smooth)
        self._at_last_window = (0.0, 0.0, 0, 0)  # its end, seconds computed, bad and flat samples
        # The first pass through a network is slow: it is not part of any latency.
        classifier.posteriors_of_waveforms(torch.zeros(1, front_end.samples))

    @property
    def heard_s(self) -> float:
        """Seconds of sound so far."""
        return self._clips.heard_s

    def remarks(self) -> tuple[str, ...]:
        """Return what was done to the sound so far and what was wrong with it, one clause each."""
        return self._clips.remarks()

    def push(self, samples: Float32[np.ndarray, "frames channels"], *, arrived_at: float | None = None) -> list[Heard]:
        """Take the next piece of sound; return what is heard in the windows that it completes.

        Parameters
        ----------
        samples : ndarray of float32, shape (frames, channels)
            Of any length.
        arrived_at : float, optional
            When its last sample was there, on the clock ``time.perf_counter``; now, if not given.
        """
        begun = time.perf_counter()
        return self._hear(begun, begun if arrived_at is None else arrived_at, samples)

    def finish(self) -> list[Heard]:
        """Return what is heard where the sound ends: a last window that ends there, or all of it where it is short."""
        begun = time.perf_counter()
        return self._hear(begun, begun, None)

    def _hear(self, begun: float, arrived_at: float, samples: np.ndarray | None) -> list[Heard]:
        found = []
        for clip in self._clips.finish() if samples is None else self._clips.push(samples):
            waveform = torch.from_numpy(clip.waveform)[None]
            posteriors = self._classifier.posteriors_of_waveforms(waveform)[0].numpy()
            now = time.perf_counter()
            self.computing_s += now - begun
            begun = now
            found.append(self._window(clip, posteriors, (now - arrived_at) * 1000, last=samples is None))
        self.computing_s += time.perf_counter() - begun
        return found

    def _window(
        self, clip: Clip, posteriors: Float64[np.ndarray, "classes"], latency_ms: float, *, last: bool
    ) -> Heard:
        if not np.isfinite(posteriors).all():
            raise CoppiceError(
                f"the network's output for the sound up to {clip.end_s:.1f} s is not a number; "
                f"{self._clips.flaws.why_no_number()}."
            )
        self.windows += 1
        self.latencies_ms.append(latency_ms)
        self._last.append(posteriors)
        smoothed = np.mean(self._last, axis=0)
        flaws = self._clips.flaws
        end_s, computing_s, bad, flat = self._at_last_window
        self._at_last_window = (clip.end_s, self.computing_s, flaws.bad, flaws.flat)
        remark = None
        if flaws.bad > bad:
            remark = "not numbers"
        elif not clip.waveform.any():
            remark = "silent"
        elif flaws.flat > flat:
            remark = "clipped"
        labels = self._classifier.labels
        return Heard(
            clip.start_s,
            clip.end_s,
            labels[int(smoothed.argmax())],
            dict(zip(labels, posteriors.tolist(), strict=True)),
            dict(zip(labels, smoothed.tolist(), strict=True)),
            latency_ms,
            None if last else (self.computing_s - computing_s) / (clip.end_s - end_s),
            remark,
        )
