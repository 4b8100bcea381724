"""Energy as time × power, where nothing measures it."""

import os
import sys
import time
from dataclasses import dataclass
from typing import Any

from coppice.energy.assumptions import Assumed, gpu_power, intensity, processor_power
from coppice.energy.energy import Energy

MODE = "estimate, processor time × power"


@dataclass(frozen=True)
class Reading:
    """A look at the clocks.

    Attributes
    ----------
    seconds : float
        Of a clock that only goes forwards.
    processor_seconds : float
        What this process, and children that have ended, spent on processors, in user and system mode.
    """

    seconds: float
    processor_seconds: float


def read_clocks() -> Reading:
    """Look at the clocks."""
    times = os.times()
    return Reading(time.monotonic(), time.process_time() + times.children_user + times.children_system)


def gpus_in_use() -> list[str]:
    """Return the names of the GPUs that this process computes on; empty as long as it uses none."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return []
    return [str(torch.cuda.get_device_name(index)) for index in range(torch.cuda.device_count())]


def estimate(
    begun: Reading, now: Reading, *, jobs: int = 1, gpus: list[str] | None = None, failure: str = ""
) -> Energy:
    """Estimate the energy between two readings.

    A process takes the share of the processor's power that its processor time is of what all logical processors
    could have spent, so that processes side by side add up to no more than the whole. GPUs are taken at full power
    for the whole time, divided by the number of jobs.

    Parameters
    ----------
    begun, now : Reading
    jobs : int >= 1
        How many jobs run side by side on this machine.
    gpus : list of str, optional
        The GPUs in use, by their drivers' names.
    failure : str
        Why nothing measures, as one more assumption.

    Raises
    ------
    CoppiceError
        If a power or an intensity that the user gave is no number.

    Examples
    --------
    >>> from unittest.mock import patch
    >>> with patch.dict(os.environ, COPPICE_POWER_W="100", COPPICE_INTENSITY="0.5"), patch("os.cpu_count", lambda: 4):
    ...     spent = estimate(Reading(0.0, 0.0), Reading(3600.0, 7200.0))  # two of four processors for an hour
    >>> round(spent.energy_kwh, 9), round(spent.co2_kg, 9)
    (0.05, 0.025)
    """
    processors, cpu = os.cpu_count() or 1, processor_power()
    seconds = now.seconds - begun.seconds
    joules = cpu.value * (now.processor_seconds - begun.processor_seconds) / processors
    assumptions = [
        failure,
        f"the processor draws {cpu.why}, of which a process has the share of its processor time in that of all "
        f"{processors} logical processors",
        "idle power, memory, disks and cooling are not counted",
    ]
    for name in gpus or []:
        card = gpu_power(name)
        joules += card.value * seconds / jobs
        assumptions.append(f"the GPU draws {card.why}, all the time" + (f", over {jobs} jobs" if jobs > 1 else ""))
    kwh, factor = max(joules, 0.0) / 3.6e6, intensity()
    return Energy(
        energy_kwh=kwh,
        co2_kg=kwh * factor.value,
        seconds=seconds,
        mode=MODE,
        assumptions=(*filter(None, assumptions), intensity_sentence(factor)),
    )


def intensity_sentence(factor: Assumed) -> str:
    """Say what a kilowatt hour is taken to emit."""
    return f"a kWh emits {factor.value:g} kg CO2e ({factor.why})"
