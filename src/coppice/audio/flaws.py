"""What is wrong with sound that arrives in pieces: counted, and kept away from a network."""

import numpy as np
from jaxtyping import Float32

from coppice.core.units import percent_text

FULL_SCALE = 0.9999  # within three steps of 16 bit
_FLAT = 3  # samples in a row: the crest of a tone that just reaches full scale is shorter
_TOO_LOUD = 2.0  # decoders of MP3 and OGG overshoot full scale by less


class Flaws:
    """Counts samples that are no numbers and samples at full scale, and watches for silence.

    Attributes
    ----------
    frames : int
        Samples of each channel so far.
    bad : int
        Samples that are NaN or infinite.
    full : int
        Frames with a sample at full scale in some channel.
    flat : int
        How often three samples in a row were at full scale: a recorder that was too loud cuts crests off.
    peak : float
        Largest magnitude of a sample.

    Examples
    --------
    >>> flaws = Flaws()
    >>> flaws.heal(np.array([[0.5], [np.nan]], dtype=np.float32))
    array([0.5, 0. ], dtype=float32)
    >>> flaws.remarks()
    ('1 sample is NaN or infinite (50.00 %) and taken as 0',)
    """

    def __init__(self) -> None:
        self.frames = 0
        self.bad = 0
        self.full = 0
        self.flat = 0
        self.peak = 0.0
        self._before = np.zeros((_FLAT - 1, 1), dtype=bool)

    def heal(self, block: Float32[np.ndarray, "frames channels"]) -> Float32[np.ndarray, "frames"]:
        """Look at the next piece; return the mean of its channels, shape (frames,), with 0 for what is no number."""
        finite = np.isfinite(block)
        if not finite.all():
            self.bad += int(finite.size - np.count_nonzero(finite))
            block = np.where(finite, block, np.float32(0))
        self.frames += len(block)
        if len(block):
            magnitude = np.abs(block)
            self.peak = max(self.peak, float(magnitude.max()))
            self._watch(magnitude >= FULL_SCALE)
        return block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)

    def remarks(self) -> tuple[str, ...]:
        """Return what a listener should know, one clause each."""
        found = []
        if self.bad:
            verb = "sample is" if self.bad == 1 else "samples are"
            share = _share(self.bad, self.frames * self._before.shape[1])
            found.append(f"{self.bad:,} {verb} NaN or infinite ({share}) and taken as 0")
        if self.frames and self.peak == 0:
            found.append("silent: every sample is 0, so its class means nothing")
        if self.peak > _TOO_LOUD:
            found.append(f"far too loud: its largest sample is {self.peak:.4g}, where 1 is full scale")
        elif self.flat:
            share = _share(self.full, self.frames)
            found.append(f"clipped: {share} of its samples stand at full scale, several in a row")
        return tuple(found)

    def why_no_number(self) -> str:
        """Say what to look at where a network's output for this sound is not a number."""
        if self.peak > _TOO_LOUD:
            return f"the largest sample is {self.peak:.4g}, where 1 is full scale"
        return "train again with a smaller learning rate"

    def _watch(self, full: np.ndarray) -> None:
        self.full += int(np.count_nonzero(full.any(axis=1)))
        if self._before.shape[1] != full.shape[1]:
            self._before = np.zeros((_FLAT - 1, full.shape[1]), dtype=bool)
        if full.any():
            row = np.concatenate((self._before, full))
            self.flat += int(np.count_nonzero(row[2:] & row[1:-1] & row[:-2]))
        self._before = np.concatenate((self._before, full[-2:]))[-2:]


def _share(some: int, of: int) -> str:
    share = some / max(1, of)
    return percent_text(share, 2) if share >= 0.0001 else "under 0.01 %"
