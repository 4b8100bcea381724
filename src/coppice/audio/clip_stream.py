"""Sound that arrives in pieces, cut into the clips that a network hears."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from coppice.audio.flaws import Flaws
from coppice.audio.front_end import FrontEnd
from coppice.audio.length import fit_length, length_change
from coppice.audio.resample import ResampleStream
from coppice.core.errors import CoppiceError


@dataclass(frozen=True, eq=False)
class Clip:
    """One window of a longer sound.

    Attributes
    ----------
    start_s, end_s : float
        Where it lies, in seconds; ``end_s`` is where the sound ends where the clip was filled up behind it.
    waveform : ndarray of float32, shape (samples,)
        At the front end's rate and of its length.
    """

    start_s: float
    end_s: float
    waveform: Float32[np.ndarray, "samples"]


class ClipStream:
    """Cuts sound of any rate and length into clips, one every hop, and remembers what was wrong with it.

    Holds little more than one clip, however long the sound. Where the pieces end makes no difference.

    Parameters
    ----------
    front_end : FrontEnd
        Rate, resampler, length and padding of a clip.
    sample_rate : int
        Of the sound, in Hz.
    hop_s : float, optional
        Seconds from the start of one clip to that of the next; a whole clip if not given.

    Attributes
    ----------
    flaws : Flaws
        What was wrong with the sound so far.
    heard_s : float
        Seconds of sound so far.

    Raises
    ------
    CoppiceError
        If the hop is not above 0 or longer than a clip.

    Examples
    --------
    >>> from coppice.audio.front_end import front_end
    >>> stream = ClipStream(front_end("dcase2021", duration_s=1.0), sample_rate=48000, hop_s=0.5)
    >>> sound = np.full((84000, 1), 0.1, dtype=np.float32)
    >>> [clip.start_s for clip in (*stream.push(sound), *stream.finish())]
    [0.0, 0.5, 0.75]
    """

    def __init__(self, front_end: FrontEnd, *, sample_rate: int, hop_s: float | None = None) -> None:
        hop_s = front_end.duration_s if hop_s is None else hop_s
        if not 0 < hop_s <= front_end.duration_s:
            raise CoppiceError(
                f"the hop is {hop_s:g} s; give more than 0 and at most {front_end.duration_s:g}, the length of a clip."
            )
        self.flaws = Flaws()
        self._front_end = front_end
        self._sample_rate = sample_rate
        self._hop = max(1, round(hop_s * front_end.sample_rate))
        self._resampler = ResampleStream(
            from_hz=sample_rate, to_hz=front_end.sample_rate, resampler=front_end.resampler
        )
        self._held = np.empty(0, dtype=np.float32)  # the newest samples, at most one clip of them between two pieces
        self._samples = 0  # that came out of the resampler so far
        self._next = 0  # where the next clip starts

    @property
    def heard_s(self) -> float:
        """Seconds of sound so far."""
        return self.flaws.frames / self._sample_rate

    @property
    def padded(self) -> bool:
        """Whether there is, so far, less sound than one clip takes."""
        return self._samples < self._front_end.samples

    def push(self, block: Float32[np.ndarray, "frames channels"]) -> Iterator[Clip]:
        """Take the next piece, shape (frames, channels); return the clips that it completes.

        The clips are views, so that as many of them as are kept take memory.
        """
        return self._clips(self._resampler.push(self.flaws.heal(block)))

    def finish(self) -> Iterator[Clip]:
        """Return the clips that the end of the sound completes: the last one ends where the sound ends."""
        yield from self._clips(self._resampler.finish())
        length = self._front_end.samples
        if 0 < self._samples < length:
            yield Clip(0.0, self._time(self._samples), fit_length(self._held, samples=length, pad=self._front_end.pad))
        elif self._samples and self._next - self._hop + length < self._samples:
            yield self._clip(self._samples - length, self._held)

    def remarks(self) -> tuple[str, ...]:
        """Return what was wrong with the sound, and what was done to it, one clause each."""
        ear, found = self._front_end, []
        if self._sample_rate != ear.sample_rate:
            found.append(f"resampled from {self._sample_rate} Hz to {ear.sample_rate} Hz")
        change = length_change(
            self._time(self._samples), wanted_s=ear.duration_s, tolerance_s=ear.hop_length / ear.sample_rate
        )
        if change == "padded":
            how = "with silence" if ear.pad == "zeros" else "by repeating it"
            found.append(f"{self.heard_s:.2f} s long, shorter than a clip of {ear.duration_s:g} s: filled up {how}")
        return (*found, *self.flaws.remarks())

    def _clips(self, waveform: Float32[np.ndarray, "new"]) -> Iterator[Clip]:
        length = self._front_end.samples
        held = np.concatenate((self._held, waveform))
        first = self._samples - len(self._held)
        self._samples += len(waveform)
        starts = range(self._next, self._samples - length + 1, self._hop)
        self._next += len(starts) * self._hop
        self._held = held[-length:].copy()
        # The state is that after the piece by now: clips that nobody takes are lost, and nothing else.
        return (self._clip(start, held[start - first : start - first + length]) for start in starts)

    def _clip(self, start: int, waveform: Float32[np.ndarray, "samples"]) -> Clip:
        return Clip(self._time(start), self._time(start + self._front_end.samples), waveform)

    def _time(self, sample: int) -> float:
        return sample / self._front_end.sample_rate
