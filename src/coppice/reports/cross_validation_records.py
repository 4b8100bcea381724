"""A cross-validation folder: many runs, and what they say together."""

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import BeforeValidator, field_validator

from coppice.energy.energy import Energy, energy_of
from coppice.reports.measures import Interval, Record
from coppice.reports.run_records import read_environment, read_recipe, read_summary


def _energies(value: object) -> tuple[Energy, ...]:
    found = [energy_of(one) for one in value] if isinstance(value, list) else []
    return tuple(energy for energy in found if energy is not None)


# One sum for each way in which runs were measured.
Energies = Annotated[tuple[Energy, ...], BeforeValidator(_energies)]


class Mean(Record):
    """A mean over folds and seeds, with its interval."""

    mean: float
    interval: Interval | None = None
    n: int | None = None


class Spread(Record):
    """A count over folds and seeds: pruning may cut differently in each."""

    mean: float
    min: float | None = None
    max: float | None = None


class FoldScore(Record):
    """Scores of one stage in one run."""

    fold: int | None = None
    seed: int | None = None
    accuracy: float | None = None
    log_loss: float | None = None


class SubRun(Record):
    """One of the runs, a whole run folder inside this one."""

    folder: str
    fold: int | None = None
    seed: int | None = None

    @field_validator("folder")
    @classmethod
    def _inside(cls, folder: str) -> str:
        path = PurePosixPath(folder)
        if path.is_absolute() or ".." in path.parts or "\\" in folder:
            raise ValueError(f"the folder {folder!r} is not inside the cross-validation")
        return folder


class MeanStage(Record):
    """One stage over all runs."""

    id: str
    title: str
    system: str | None = None
    kind: str
    parent: str | None = None
    accuracy: Mean | None = None
    log_loss: Mean | None = None
    macro_accuracy: Mean | None = None
    accuracy_change: Mean | None = None
    log_loss_change: Mean | None = None
    params_total: Spread | None = None
    params_bn_folded: Spread | None = None
    macs: Spread | None = None
    size_bytes_float32: Spread | None = None
    size_bytes_float16: Spread | None = None
    size_bytes_folded_float16: Spread | None = None
    file_bytes: Spread | None = None
    per_run: tuple[FoldScore, ...] = ()
    energy: Energies = ()


class CrossValidationSummary(Record):
    """The whole of a cross-validation's ``summary.json``."""

    version: int = 1
    name: str
    title: str
    seconds: float | None = None
    headline_system: str | None = None
    runs: tuple[SubRun, ...] = ()
    stages: tuple[MeanStage, ...] = ()
    interval: str | None = None
    energy: Energies = ()


@dataclass(frozen=True)
class CrossValidationRecord:
    """Everything that a report says about a cross-validation."""

    folder: Path
    summary: CrossValidationSummary
    environment: dict[str, str]
    recipe: str
    synthetic: bool
    notes: tuple[str, ...]

    @property
    def unpruned(self) -> MeanStage | None:
        """The stage that everything is compared with."""
        return next((s for s in self.summary.stages if s.system is None and s.kind == "train"), None)

    @property
    def systems(self) -> tuple[str, ...]:
        """The systems in order, the headline one first."""
        names = dict.fromkeys(s.system for s in self.summary.stages if s.system is not None)
        return tuple(sorted(names, key=lambda name: name != self.summary.headline_system))

    def last_stage(self, system: str | None) -> MeanStage | None:
        """Return the last evaluated stage of a system."""
        stages = [s for s in self.summary.stages if s.system == system and s.accuracy is not None]
        return stages[-1] if stages and system is not None else None


def read_cross_validation(folder: Path) -> CrossValidationRecord:
    """Read a cross-validation folder.

    Raises
    ------
    CoppiceError
        If its ``summary.json`` is missing or is not that of a cross-validation.
    """
    notes: list[str] = []
    summary = read_summary(CrossValidationSummary, folder)
    for run in summary.runs:
        if not (folder / run.folder / "summary.json").is_file():
            notes.append(f"The run {run.folder} is missing or has not finished.")
    return CrossValidationRecord(
        folder=folder,
        summary=summary,
        environment=read_environment(folder, notes),
        recipe=read_recipe(folder, notes),
        synthetic=any(_is_synthetic(folder / run.folder) for run in summary.runs),
        notes=tuple(notes),
    )


def _is_synthetic(run: Path) -> bool:
    try:
        data = json.loads((run / "data" / "data.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return False  # the run's own report says that it is missing
    return isinstance(data, dict) and data.get("synthetic") is True
