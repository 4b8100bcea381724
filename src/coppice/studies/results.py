"""The results of a study: one row for each point, fold and seed, and a page of what the columns mean."""

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coppice.core.files import whole_file, write_json
from coppice.reports.study_records import KIND, VERSION
from coppice.studies.grid import GridRun
from coppice.studies.rankings import RANKING, write_rankings
from coppice.studies.study_file import Study
from coppice.studies.tasks import Outcome

SCORES = {
    "accuracy": "share of the test clips that are labelled right",
    "macro_accuracy": "mean of the accuracies of the classes",
    "log_loss": "mean negative natural logarithm of the posterior of the right class, in nats",
    "clips": "test clips",
    "params_total": "all parameters, with the running statistics of batch normalisation",
    "params_bn_folded": "parameters with batch normalisation folded into convolutions",
    "macs": "multiply-accumulates of convolutions and dense layers, without biases, for one clip",
    "size_bytes": "bytes of all tensors in the format that they are stored in; int8: of the file",
    "latency_ms_p50": "median over repeats; eager PyTorch, one thread, batch of 1; empty if not measured",
    "energy_kwh": "of the stages of this run alone, counted as their stage.json says; empty if not known",
    "seconds": "wall time of the stages of this run alone, on one thread; data and training are shared with others",
    "finetune_seconds": "wall time of the stages of its fine-tuning; 0 without any",
    "finetune_epochs": "epochs of its fine-tuning, of all fits together",
    "finetune_clips": "training clips that its fine-tuning used; of the fit with the most",
    "finetune_clips_seen": "clips × epochs that the optimizer saw in fine-tuning, of all fits together",
    "finetune_macs": "MACs of its fine-tuning: 3 × for each clip seen, 1 × for each validation clip in each epoch, and "
    "a teacher's once for each training clip",
    "validation_accuracy": "as accuracy, of the validation clips: for whatever is chosen",
    "validation_log_loss": "as log_loss, of the validation clips: for whatever is chosen",
    **RANKING,
}
BASE = ("accuracy", "log_loss", "macs", "params_total", "size_bytes")
_FIRST = {
    "run": "run folder, relative to the study's",
    "point": "values of the axes, without fold and seed",
    "status": "done, failed or waiting",
    "reason": "why it failed, in one line",
    "fold": "test fold; empty where the recipe's own split is used",
    "seed": "of weights, order of clips, dropout and whatever draws",
    "members": "of an ensemble: values of its axis; empty for a run",
}


@dataclass(frozen=True)
class Row:
    """A run of the grid, or an ensemble, with the folder it has, and how it and its unpruned network have ended."""

    run: GridRun
    folder: str
    outcome: Outcome | None
    base: Outcome | None

    @property
    def status(self) -> str:
        """``done``, ``failed`` or ``waiting``."""
        return "waiting" if self.outcome is None else self.outcome.status


def columns(axes: Iterable[str]) -> dict[str, str]:
    """Return the columns of ``results.csv`` and what each means.

    Examples
    --------
    >>> list(columns(["criterion"]))[:9]
    ['run', 'point', 'status', 'reason', 'fold', 'seed', 'members', 'axis.criterion', 'accuracy']
    """
    base = {f"base_{name}": f"{name} of the unpruned network of that fold and seed, in float32" for name in BASE}
    return {
        **_FIRST,
        **{f"axis.{name}": f"value of the axis {name}" for name in axes},
        **SCORES,
        "coppice_version": "what did the run",
        **base,
    }


def write_results(
    folder: Path,
    study: Study,
    rows: Sequence[Row],
    *,
    folds: Sequence[int | None],
    where: str,
    axes: Mapping[str, Sequence[str]] | None = None,
    search: Mapping[str, Any] | None = None,
) -> None:
    """Write ``results.csv`` and ``study.json``, and ``rankings.csv`` where similarities decided; each whole.

    Parameters
    ----------
    folder : Path
        Of the study.
    study : Study
        As carried out.
    rows : sequence of Row
        All of the grid, in its order.
    folds : sequence of int or None
        All that test.
    where : str
        What the runs go on on.
    axes : mapping, optional
        Axis → short texts of its values, of a search; those of the grid if not given.
    search : mapping, optional
        What ``study.json`` says of a search.
    """
    axes = axes or {name: list(values) for name, values in study.axes.items()}
    head = columns(axes)
    with whole_file(folder / "results.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(head), restval="")
        writer.writeheader()
        writer.writerows(_cells(row) for row in rows)
    write_rankings(folder / "rankings.csv", ((_names(row), row.outcome.rankings) for row in rows if row.outcome))
    counts = Counter(row.status for row in rows)
    write_json(
        folder / "study.json",
        {
            "version": VERSION,
            "kind": KIND,
            "name": study.file.name,
            "title": study.title,
            "axes": {name: list(values) for name, values in axes.items()},
            "folds": [fold for fold in folds if fold is not None],
            "seeds": study.seeds,
            "ensembles": {one.name: {"axis": one.axis, "size": one.size} for one in study.ensembles},
            "combined": combined_text(study) if search is None else "chosen by a search; each with every fold and seed",
            "counts": {status: counts.get(status, 0) for status in ("done", "failed", "waiting")},
            "versions": dict(Counter(row.outcome.coppice_version for row in rows if row.outcome is not None)),
            "where": where,
            "columns": head,
            **({} if search is None else {"search": dict(search)}),
        },
    )


def combined_text(study: Study) -> str:
    """Say how the axes are combined.

    Examples
    --------
    >>> from coppice.studies.study_file import load_study
    >>> combined_text(load_study("criteria-shootout"))
    'criterion × ratios; each with every fold and seed'
    """
    groups = {name: tuple(group) for group in study.file.zip for name in group}
    parts = dict.fromkeys(groups.get(name, (name,)) for name in study.axes)
    text = " × ".join(part[0] if len(part) == 1 else f"({' with '.join(part)})" for part in parts)
    left_out = f"; {len(study.file.exclude)} exclusions" if study.file.exclude else ""
    capped = f"; at most {study.file.cap} runs, drawn at random" if study.file.cap is not None else ""
    return f"{text or 'one point'}{left_out}{capped}; each with every fold and seed"


def _cells(row: Row) -> dict[str, Any]:
    run, outcome = row.run, row.outcome
    cells: dict[str, Any] = {
        **_names(row),
        "status": row.status,
        **{f"axis.{name}": short for name, short in run.point.labels.items()},
    }
    if outcome is not None:
        cells |= {"reason": outcome.reason, "coppice_version": outcome.coppice_version, **_known(outcome.scores)}
        cells["members"] = " + ".join(outcome.members)
    if row.base is not None and row.base.status == "done":
        cells |= {f"base_{name}": row.base.scores[name] for name in BASE}
    return cells


def _names(row: Row) -> dict[str, Any]:
    fold = "" if row.run.fold is None else row.run.fold
    return {"run": row.folder, "point": row.run.point.name, "fold": fold, "seed": row.run.seed}


def _known(scores: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in scores.items() if value is not None}
