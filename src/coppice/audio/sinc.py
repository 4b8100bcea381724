"""Resampling by a windowed sinc, for waveforms that arrive in pieces."""

import math
from functools import lru_cache

import numpy as np
from jaxtyping import Float32, Float64, Int64

# The windowed sinc: zero crossings on either side, and the cut-off as a share of the lower rate's half.
ZERO_CROSSINGS = 6
ROLLOFF = 0.99
_BLOCK_VALUES = 1 << 20


class SincStream:
    """The resampler ``"sinc_hann"`` of :func:`coppice.audio.resample.resample`, piece by piece.

    What comes out does not depend on where the pieces end.

    Parameters
    ----------
    from_hz, to_hz : int
        Rates in Hz.

    Examples
    --------
    >>> stream = SincStream(44100, 32000)
    >>> len(stream.push(np.ones(441, dtype=np.float32))), len(stream.finish())
    (313, 7)
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        common = math.gcd(from_hz, to_hz)
        self._step, self._phases = from_hz // common, to_hz // common
        self._starts, self._filters = _filters(self._step, self._phases)
        self._taps = self._filters.shape[1]
        # The waveform is 0 beyond its ends; what is held begins with the input that the next output needs.
        self._held = np.zeros((self._taps - 2) // 2)
        self._first = 0  # index of the first sample that is held, where 0 is the zeros before the waveform
        self._given = 0
        self._made = 0

    def push(self, waveform: Float32[np.ndarray, "given"]) -> Float32[np.ndarray, "samples"]:
        """Take the next piece, shape (given,); return the samples that can be told by now, perhaps none."""
        self._held = np.concatenate((self._held, waveform))
        self._given += len(waveform)
        room = self._first + len(self._held) - self._taps
        cycle = max(0, room) // self._step
        ready = cycle * self._phases + int(np.searchsorted(self._starts, room - cycle * self._step, side="right"))
        return self._outputs(ready)

    def finish(self) -> Float32[np.ndarray, "samples"]:
        """Return the last samples; nothing can be pushed afterwards."""
        self._held = np.concatenate((self._held, np.zeros(self._taps + self._step)))
        return self._outputs(-(-self._given * self._phases // self._step))

    def _outputs(self, end: int) -> Float32[np.ndarray, "samples"]:
        """Compute the outputs from where the last ones ended up to ``end``, and let go of what lies before."""
        made = np.empty(max(0, end - self._made), dtype=np.float32)
        block = max(1, _BLOCK_VALUES // self._taps)
        for first in range(0, len(made), block):
            numbers = self._made + np.arange(first, min(first + block, len(made)))
            cycle, phase = np.divmod(numbers, self._phases)
            stretches = np.lib.stride_tricks.sliding_window_view(self._held, self._taps)
            # Each output sample: the stretch of the input around it, times the filter of its place between two samples.
            made[first : first + block] = np.einsum(
                "nt,nt->n", stretches[cycle * self._step + self._starts[phase] - self._first], self._filters[phase]
            )
        self._made += len(made)
        next_cycle, next_phase = divmod(self._made, self._phases)
        needed = next_cycle * self._step + int(self._starts[next_phase])
        self._held = self._held[needed - self._first :].copy()
        self._first = needed
        return made


@lru_cache(maxsize=2)
def _filters(step: int, phases: int) -> tuple[Int64[np.ndarray, "phases"], Float64[np.ndarray, "phases taps"]]:
    """Return, for each output sample of one cycle, where its stretch of the input begins, and its filter."""
    cutoff = min(1.0, phases / step) * ROLLOFF  # in half the input rate
    reach = math.ceil(ZERO_CROSSINGS / cutoff)
    starts, between = np.divmod(np.arange(phases) * step, phases)
    t = (np.arange(-reach, reach + 2) - between[:, None] / phases) * cutoff
    t = t.clip(-ZERO_CROSSINGS, ZERO_CROSSINGS)
    return starts, cutoff * np.sinc(t) * np.cos(t * np.pi / (2 * ZERO_CROSSINGS)) ** 2
