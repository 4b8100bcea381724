"""Measure the energy of a block of code: with CodeCarbon where it is installed, else as time × power."""

from collections.abc import Iterator
from contextlib import contextmanager

from coppice.energy.assumptions import intensity, processor_power
from coppice.energy.codecarbon_tracker import CodecarbonTracker
from coppice.energy.energy import Energy
from coppice.energy.estimate import estimate, gpus_in_use, read_clocks

NOT_INSTALLED = "CodeCarbon is not installed (extra 'energy'), so nothing was measured"


class Meter:
    """Counts from its making to :meth:`stop`. A failure of CodeCarbon is no failure of the work: time × power then.

    Parameters
    ----------
    jobs : int >= 1
        How many jobs run side by side on this machine, so that none is counted twice.

    Raises
    ------
    CoppiceError
        If a power or an intensity that the user gave is no number.
    """

    def __init__(self, jobs: int = 1) -> None:
        processor_power(), intensity()  # what the user gave is refused before the work, not after it
        self._jobs, self._failure = jobs, ""
        self._tracker: CodecarbonTracker | None = None
        self._energy: Energy | None = None
        try:
            self._tracker = CodecarbonTracker(jobs)
        except ImportError as error:
            installed = getattr(error, "name", None) != "codecarbon"
            self._failure = _failed(error) if installed else NOT_INSTALLED
        except Exception as error:
            self._failure = _failed(error)
        self._begun = read_clocks()

    @property
    def energy(self) -> Energy:
        """What was spent: all of it after :meth:`stop`, before that what is known so far."""
        if self._energy is not None:
            return self._energy
        if self._tracker is not None:
            try:
                return self._tracker.so_far(gpu_used=bool(gpus_in_use()))
            except Exception as error:
                return self._estimate(_failed(error))
        return self._estimate(self._failure)

    def stop(self) -> Energy:
        """Stop counting; return what was spent."""
        if self._energy is None:
            now, gpus = read_clocks(), gpus_in_use()  # CodeCarbon takes its time to stop
            self._energy = estimate(self._begun, now, jobs=self._jobs, gpus=gpus, failure=self._failure)
            if self._tracker is not None:
                try:
                    self._energy = self._tracker.stop(gpu_used=bool(gpus))
                except Exception as error:
                    failure = _failed(error)
                    self._energy = estimate(self._begun, now, jobs=self._jobs, gpus=gpus, failure=failure)
        return self._energy

    def _estimate(self, failure: str) -> Energy:
        return estimate(self._begun, read_clocks(), jobs=self._jobs, gpus=gpus_in_use(), failure=failure)


@contextmanager
def metered(*, jobs: int = 1) -> Iterator[Meter]:
    """Measure the energy of a block.

    With the extra ``energy``, CodeCarbon measures offline and by process: neither files nor messages of it appear.
    Otherwise, or when it fails, the energy is estimated as processor time × power, and says so.

    Parameters
    ----------
    jobs : int >= 1
        How many jobs run side by side on this machine.

    Yields
    ------
    Meter
        ``meter.energy`` is what the block took, also when it ended with an error.

    Raises
    ------
    CoppiceError
        If a power or an intensity that the user gave is no number.

    Examples
    --------
    >>> with metered() as meter:
    ...     total = sum(range(100_000))
    >>> meter.energy.energy_kwh >= 0, meter.energy.mode != ""
    (True, True)
    """
    meter = Meter(jobs)
    try:
        yield meter
    finally:
        meter.stop()


def _failed(error: Exception) -> str:
    said = " ".join(str(error).split()).rstrip(".")[:120]
    return f"CodeCarbon failed ({type(error).__name__}: {said}), so nothing was measured"
