"""A run folder, read whole: what each stage left, and a plain note for every piece that is missing."""

import csv
import json
import math
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, TypeVar

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from coppice.core.errors import CoppiceError
from coppice.energy.energy import INFERENCE, Energy, energy_of
from coppice.reports.measures import (
    Complexity,
    DataSummary,
    Evaluation,
    LatencyRecord,
    LatencyTimes,
    PlanRecord,
    Record,
    StageMetrics,
)

R = TypeVar("R", bound=Record)

FIT_KINDS = ("train", "finetune")
STORED_KINDS = ("float16", "bfloat16", "dynamic_int8")
_KIND_TITLES = {
    "train": "trained",
    "prune": "pruned",
    "dense": "dense layer shrunk",
    "reset": "new weights",
    "finetune": "fine-tuned",
    "float16": "float16",
    "bfloat16": "bfloat16",
    "dynamic_int8": "large weights int8",
    "int8": "int8",
}


class StageEntry(Record):
    """One line of the stage list in ``summary.json``."""

    id: str
    title: str
    system: str | None = None
    kind: str
    folder: str
    parent: str | None = None

    @field_validator("folder")
    @classmethod
    def _inside_the_run(cls, folder: str) -> str:
        path = PurePosixPath(folder)
        if path.is_absolute() or ".." in path.parts or "\\" in folder:
            raise ValueError(f"the folder {folder!r} is not inside the run")
        return folder


class RunSummary(Record):
    """The whole of a run's ``summary.json``."""

    version: int = 1
    name: str
    title: str
    seed: int | None = None
    test_fold: int | None = None
    seconds: float | None = None
    headline_system: str | None = None
    stages: tuple[StageEntry, ...] = ()


class Epoch(Record):
    """One line of a ``history.csv``."""

    epoch: int
    train_log_loss: float | None = None
    validation_log_loss: float | None = None
    validation_accuracy: float | None = None
    learning_rate: float | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _empty_is_unknown(cls, value: object) -> object:
        if isinstance(value, str) and (not value.strip() or not math.isfinite(float(value))):
            return None
        return value


class ClipRow(Record):
    """One line of ``data/clips.csv``."""

    clip_id: str
    label: str
    side: str
    fold: str | None = None
    recording: str | None = None
    device: str | None = None


class Prediction(Record):
    """One line of a stage's ``predictions.csv``: the part that a paired comparison needs."""

    clip_id: str
    label: str
    predicted: str
    probability: float | None = None  # of the right class

    @model_validator(mode="before")
    @classmethod
    def _probability_of_the_label(cls, row: dict[str, object]) -> dict[str, object]:
        return {"probability": row.get(f"p_{row.get('label')}")} | row


KnownEnergy = Annotated[Energy | None, BeforeValidator(energy_of)]


class _StageTime(Record):
    seconds: float | None = None
    energy: KnownEnergy = None


class _Baseline(Record):
    network: str
    energy: KnownEnergy = None


class InferenceRecord(Record):
    """What classifying clips takes, as ``coppice energy`` left it in a stage's folder."""

    clips: int = Field(ge=1)
    energy: KnownEnergy = None
    compared: _Baseline | None = Field(default=None, alias="baseline")

    @property
    def baseline(self) -> Energy | None:
        """What the baseline takes for the same clips."""
        return self.compared.energy if self.compared else None

    @property
    def baseline_name(self) -> str:
        """What the baseline is called."""
        return self.compared.network if self.compared else ""


class _Plan(PlanRecord):
    version: int = Field(default=1, ge=1)


@dataclass(frozen=True)
class StageRecord:
    """One stage: its entry in the summary and what its folder holds."""

    entry: StageEntry
    metrics: StageMetrics
    measured: bool
    history: tuple[Epoch, ...] = ()
    predictions: tuple[Prediction, ...] = ()
    plan: PlanRecord | None = None
    latency: LatencyTimes | None = None
    seconds: float | None = None
    energy: Energy | None = None
    inference: InferenceRecord | None = None

    @property
    def test(self) -> Evaluation | None:
        """Scores on the test side, if they were measured."""
        return self.metrics.evaluation.test

    @property
    def complexity(self) -> Complexity | None:
        """Counts of the network, if they were measured."""
        return self.metrics.complexity


@dataclass(frozen=True)
class RunRecord:
    """Everything that a report says about one run.

    Attributes
    ----------
    notes : tuple of str
        One plain sentence for each piece of the folder that is missing or cannot be read.
    """

    folder: Path
    summary: RunSummary
    stages: tuple[StageRecord, ...]
    latency: LatencyRecord | None
    data: DataSummary | None
    clips: tuple[ClipRow, ...]
    environment: dict[str, str]
    recipe: str
    notes: tuple[str, ...]

    @property
    def unpruned(self) -> StageRecord | None:
        """The first trained stage that no system owns: what everything is compared with."""
        return next((s for s in self.stages if s.entry.system is None and s.entry.kind == "train"), None)

    @property
    def systems(self) -> tuple[str, ...]:
        """The systems in the order of the run, the headline one first."""
        names = dict.fromkeys(s.entry.system for s in self.stages if s.entry.system is not None)
        return tuple(sorted(names, key=lambda name: name != self.summary.headline_system))

    def of_system(self, system: str) -> tuple[StageRecord, ...]:
        """Return the stages of one system, in order."""
        return tuple(s for s in self.stages if s.entry.system == system)

    def last_stage(self, system: str) -> StageRecord | None:
        """Return the last stage of a system that was measured on the test side."""
        measured = [s for s in self.of_system(system) if s.test is not None]
        return measured[-1] if measured else None

    def latency_of(self, stage: StageRecord) -> tuple[LatencyTimes, StageRecord] | None:
        """Return the measured times of a stage, or of the stage whose parameters it stores in another format.

        Storing parameters in fewer bits changes neither shapes nor arithmetic, so its time is its parent's.
        """
        if stage.latency is not None:
            return stage.latency, stage
        if stage.entry.kind in STORED_KINDS:
            parent = next((s for s in self.stages if s.entry.id == stage.entry.parent), None)
            if parent is not None and parent.latency is not None:
                return parent.latency, parent
        return None


def read_run(run_folder: Path) -> RunRecord:
    """Read a run folder, finished or not.

    Parameters
    ----------
    run_folder : Path
        The folder that a run left.

    Returns
    -------
    RunRecord
        With a note for each piece that is missing.

    Raises
    ------
    CoppiceError
        If the folder does not exist or holds no stage at all.
    """
    if not run_folder.is_dir():
        raise CoppiceError(f"there is no run folder {run_folder}; give the folder that `coppice run` left.")
    notes: list[str] = []
    summary = _json(RunSummary, run_folder / "summary.json", "summary.json", notes)
    if summary is None:
        summary = _summary_of_unfinished(run_folder)
        notes[-1:] = ["This run has not finished: what follows is what it had measured so far."]
    if not summary.stages:
        raise CoppiceError(f"{run_folder} is not a run folder: it holds neither a summary.json nor a stage.")
    latency_path = run_folder / "latency.json"
    latency = _json(LatencyRecord, latency_path, "latency.json", notes) if latency_path.exists() else None
    if latency is None:
        notes.append("Latency was not measured in this run, so nothing is said about speed.")
    stages = tuple(_read_stage(run_folder, entry, latency, notes) for entry in summary.stages)
    return RunRecord(
        folder=run_folder,
        summary=summary,
        stages=stages,
        latency=latency,
        data=_json(DataSummary, run_folder / "data" / "data.json", "data/data.json", notes),
        clips=_rows(ClipRow, run_folder / "data" / "clips.csv", "data/clips.csv", notes),
        environment=read_environment(run_folder, notes),
        recipe=read_recipe(run_folder, notes),
        notes=tuple(notes),
    )


def read_environment(folder: Path, notes: list[str]) -> dict[str, str]:
    """Return ``environment.json`` as text by name; add a note if it cannot be read."""
    value = _load(folder / "environment.json", "environment.json", notes)
    return {str(k): str(v) for k, v in value.items()} if isinstance(value, dict) else {}


def read_recipe(folder: Path, notes: list[str]) -> str:
    """Return ``recipe.yaml`` verbatim; add a note if it is missing."""
    path = folder / "recipe.yaml"
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        notes.append("recipe.yaml is missing, so the exact recipe cannot be shown.")
        return ""


def read_summary(summary: type[R], folder: Path) -> R:
    """Read ``summary.json`` as one of its two kinds.

    Raises
    ------
    CoppiceError
        If it is missing or does not have the fields of that kind.
    """
    notes: list[str] = []
    record = _json(summary, folder / "summary.json", "summary.json", notes)
    if record is None:
        raise CoppiceError(f"{folder}: {notes[0]}")
    return record


def _read_stage(run: Path, entry: StageEntry, latency: LatencyRecord | None, notes: list[str]) -> StageRecord:
    folder = run / entry.folder
    metrics = _json(StageMetrics, folder / "metrics.json", f"the metrics of “{entry.title}”", notes)
    if metrics is not None and metrics.evaluation.test is None:
        notes.append(f"“{entry.title}” was not evaluated on the test clips.")
    history: tuple[Epoch, ...] = ()
    if entry.kind in FIT_KINDS:
        history = _rows(Epoch, folder / "history.csv", f"the training history of “{entry.title}”", notes)
    plan = None
    if entry.kind == "prune":
        plan = _json(_Plan, folder / "plan.json", f"the plan of “{entry.title}”", notes)
    ignored: list[str] = []  # not every stage has these
    time = _json(_StageTime, folder / "stage.json", "stage.json", ignored)
    inference = _json(InferenceRecord, folder / INFERENCE, INFERENCE, ignored)
    return StageRecord(
        entry=entry,
        metrics=metrics or StageMetrics(),
        measured=metrics is not None,
        history=history,
        predictions=_rows(Prediction, folder / "predictions.csv", "predictions.csv", ignored),
        plan=plan,
        latency=latency.stages.get(entry.id) if latency else None,
        seconds=time.seconds if time else None,
        energy=time.energy if time else None,
        inference=inference,
    )


def _summary_of_unfinished(run: Path) -> RunSummary:
    """List the stages of a run that was stopped before its summary, from the folders it had filled."""
    found = sorted(run.glob("**/metrics.json"), key=lambda path: path.stat().st_mtime)
    entries = []
    for path in found:
        folder = path.parent.relative_to(run)
        kind = folder.name.split("-")[-1]
        if kind not in _KIND_TITLES or folder.parts[0] not in ("train", "unpruned", "systems"):
            continue
        system = folder.parts[1] if folder.parts[0] == "systems" and len(folder.parts) > 2 else None
        title = "unpruned" if kind == "train" else f"{system or 'unpruned'} · {_KIND_TITLES[kind]}"
        name = f"{system}/{folder.name}" if system else folder.as_posix()
        entries.append(StageEntry(id=name, title=title, system=system, kind=kind, folder=folder.as_posix()))
    entries.sort(key=lambda entry: entry.system is not None)
    headline = next((entry.system for entry in entries if entry.system), None)
    return RunSummary(name=run.name, title=run.name, headline_system=headline, stages=tuple(entries))


def _load(path: Path, what: str, notes: list[str]) -> object:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        notes.append(f"Missing from the run folder: {what}.")
    except (OSError, ValueError, RecursionError):
        notes.append(f"Cannot be read: {what}.")
    return None


def _json(kind: type[R], path: Path, what: str, notes: list[str]) -> R | None:
    before = len(notes)
    value = _load(path, what, notes)
    if len(notes) > before:
        return None
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        notes.append(f"Cannot be used: {what} ({_reason(error)}).")
        return None


def _rows(kind: type[R], path: Path, what: str, notes: list[str]) -> tuple[R, ...]:
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            return tuple(kind.model_validate(row) for row in csv.DictReader(handle))
    except FileNotFoundError:
        notes.append(f"Missing from the run folder: {what}.")
    except ValidationError as error:
        notes.append(f"Cannot be used: {what} ({_reason(error)}).")
    except (OSError, ValueError, csv.Error):
        notes.append(f"Cannot be read: {what}.")
    return ()


def _reason(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "the whole"
    return f"{where}: {first['msg'].lower()}"
