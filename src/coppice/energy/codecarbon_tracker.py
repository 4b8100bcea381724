"""CodeCarbon as a counter: offline, silent, without files, by process; its measuring mode in words."""

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from coppice.core.errors import CoppiceError
from coppice.energy.assumptions import intensity, processor_power
from coppice.energy.energy import Energy
from coppice.energy.estimate import intensity_sentence

_SAMPLE_S = 15
_LOGGER = "codecarbon"
# CodeCarbon's name of the way -> (in words, whether it sees this process alone).
_WAYS = {
    "cpu_load": ("load of this process × thermal design power", True),
    "constant": ("constant power", False),
    "intel_rapl": ("RAPL counter of the whole processor", False),
    "intel_power_gadget": ("Power Gadget's counter of the whole processor", False),
    "windows_emi": ("Windows' counter of the whole processor", False),
    "AppleSiliconChip": ("powermetrics of the whole chip", False),
    "Raspberry": ("power chip of the whole board", False),
}


@dataclass(frozen=True)
class Way:
    """How CodeCarbon reads the processor, as its hardware objects tell.

    Attributes
    ----------
    text : str
        In words.
    of_process : bool
        Whether it sees this process alone, rather than all that runs.
    power_w : float or None
        The power on which it calculates; None where a counter is read.
    """

    text: str
    of_process: bool
    power_w: float | None


class CodecarbonTracker:
    """One measurement by CodeCarbon, from its making to :meth:`stop`.

    Parameters
    ----------
    jobs : int >= 1
        How many jobs run side by side on this machine: what CodeCarbon cannot divide among them is divided evenly.

    Raises
    ------
    Exception
        Whatever CodeCarbon raises; ``ImportError`` where it is not installed.
    """

    def __init__(self, jobs: int = 1) -> None:
        self._jobs = jobs
        self._latest: Any = None
        logger = logging.getLogger(_LOGGER)
        self._was_disabled, logger.disabled = logger.disabled, True
        try:
            with _quiet():
                self._start()
        except BaseException:
            logger.disabled = self._was_disabled
            raise

    def _start(self) -> None:
        from codecarbon import OfflineEmissionsTracker, __version__

        # A user's configuration of CodeCarbon may name outputs and tokens: none of them is wanted here.
        self._tracker = OfflineEmissionsTracker(
            tracking_mode="process",
            measure_power_secs=_SAMPLE_S,
            api_call_interval=1,
            output_methods=[],
            output_handlers=[self],
            emissions_endpoint=False,
            electricitymaps_api_token="",
            output_dir=tempfile.gettempdir(),
            log_level="critical",
            allow_multiple_runs=True,
        )
        self._tracker.start()
        try:
            # It says nowhere else in which way it measures, and falls from one to the next in silence.
            self._way, self._has_gpu = _way(getattr(self._tracker, "_hardware", None))
        except CoppiceError:
            self._tracker.stop()
            raise
        gpu = "; GPU's counter" if self._has_gpu else ""
        self.mode = f"codecarbon {__version__}, {self._way.text}{gpu}"

    def live_out(self, total: Any, delta: Any) -> None:
        """Take a sample; CodeCarbon calls it."""
        self._latest = total

    def out(self, total: Any, delta: Any) -> None:
        """Take the last sample; CodeCarbon calls it."""
        self._latest = total

    def task_out(self, data: Any, experiment_name: str) -> None:
        """Do nothing; CodeCarbon calls it."""

    def exit(self) -> None:
        """Do nothing; CodeCarbon calls it."""

    def so_far(self, *, gpu_used: bool) -> Energy:
        """Return what the last sample says, which is some seconds old; nothing before the first."""
        return Energy(0.0, 0.0, 0.0, self.mode) if self._latest is None else self._energy(self._latest, gpu_used)

    def stop(self, *, gpu_used: bool) -> Energy:
        """Stop, and return the energy.

        Raises
        ------
        CoppiceError
            If CodeCarbon has no result.
        """
        try:
            with _quiet():
                self._tracker.stop()
        finally:
            logging.getLogger(_LOGGER).disabled = self._was_disabled
        data = getattr(self._tracker, "final_emissions_data", None)
        if data is None:
            raise CoppiceError("it gave no result")
        return self._energy(data, gpu_used)

    def _energy(self, data: Any, gpu_used: bool) -> Energy:
        cpu, memory, gpu = (float(getattr(data, f"{part}_energy")) for part in ("cpu", "ram", "gpu"))
        power = ""
        if self._way.power_w:
            given = processor_power()
            power = f", with {self._way.power_w:g} W"
            if given.given:
                cpu *= given.value / self._way.power_w
                power = f", with {given.why}"
        alone = 1 if self._way.of_process else self._jobs
        kwh = cpu / alone + memory / self._jobs + (gpu / self._jobs if gpu_used else 0.0)
        if not 0 <= kwh < float("inf"):
            raise CoppiceError(f"it gave {kwh} kWh")
        factor, sentence = _intensity(data)
        assumptions = [
            f"the processor by {self._way.text}{power}",
            f"memory by CodeCarbon's model, {getattr(data, 'ram_power', 0.0):.0f} W",
        ]
        if self._has_gpu:
            assumptions.append("GPUs that are visible count as wholes" if gpu_used else "the GPU was not used")
        if self._jobs > 1:
            assumptions.append(f"what is measured of the whole machine is divided by {self._jobs}, the jobs on it")
        elif not self._way.of_process:
            assumptions.append("whatever else ran on the processor at that time is counted, too")
        pue = float(getattr(data, "pue", 1.0) or 1.0)
        if pue != 1.0:
            assumptions.append(f"the building takes {pue:g} times what its computers take (CodeCarbon's setting)")
        return Energy(kwh, kwh * factor, float(data.duration), self.mode, (*assumptions, sentence))


def _way(hardware: Any) -> tuple[Way, bool]:
    """Read off CodeCarbon's hardware objects how it measures, and whether there is a GPU."""
    gpu = False
    way: Way | None = None
    for part in hardware or []:
        kind = type(part).__name__
        name = str(getattr(part, "_mode", "unknown")) if kind == "CPU" else kind
        if kind == "GPU" or getattr(part, "chip_part", "") == "GPU":
            gpu = True
        elif kind != "RAM" and getattr(part, "chip_part", "") != "RAM":
            text, of_process = _WAYS.get(name, (f"a way that it calls {name}", False))
            power = getattr(part, "_tdp", None) if name in ("cpu_load", "constant") else None
            way = Way(text, of_process, None if power is None else float(power))
    if way is None:
        raise CoppiceError("it found no processor to measure")
    return way, gpu


def _intensity(data: Any) -> tuple[float, str]:
    factor, country = intensity(), getattr(data, "country_iso_code", None)
    energy = float(data.energy_consumed)
    if factor.given or not country or energy <= 0:
        return factor.value, intensity_sentence(factor)
    value = float(data.emissions) / energy
    return value, f"a kWh emits {value:.3g} kg CO2e (CodeCarbon's table, {country})"


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
