"""The trials of a search, read from its folder and checked."""

import csv
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from coppice.core.errors import CoppiceError
from coppice.core.files import plain_os_errors
from coppice.reports.pareto_front import pareto_front
from coppice.reports.study_measures import ACCURACY, COSTS, LOG_LOSS, Cost, Score
from coppice.reports.study_records import StudyRecord

_SCORES = {
    "accuracy": Score("validation_accuracy", "validation accuracy", "validation accuracy (%)", ACCURACY.higher, 100.0),
    "log_loss": Score("validation_log_loss", "validation log-loss", "validation log-loss (nats)", LOG_LOSS.higher),
}


@dataclass(frozen=True)
class SearchRecord:
    """What a page says of a search.

    Attributes
    ----------
    score, cost : Score, Cost
        The objectives.
    reference : (float, float)
        A cost and a score that count as useless.
    budget : dict
        Cost → the most that was allowed.
    done : DataFrame
        Trials in the order in which they ended: ``trial``, ``grid``, ``point``, the two objectives, ``joined``,
        ``hypervolume`` and ``front`` (whether it is on the front of all).
    running, failed : int
        Other trials.
    """

    score: Score
    cost: Cost
    reference: tuple[float, float]
    budget: dict[str, int]
    done: pd.DataFrame = field(repr=False)
    running: int
    failed: int

    @property
    def start(self) -> int:
        """How many points of a grid the search started from."""
        return int((self.done["grid"] != "").sum())

    def front_after(self, count: int) -> pd.DataFrame:
        """Return the front after so many trials, the cheapest first."""
        part = self.done.iloc[:count]
        costs, scores = (part[name].to_numpy(dtype=np.float64) for name in (self.cost.field, self.score.field))
        return part[pareto_front(costs, scores, higher=self.score.higher)].sort_values(
            [self.cost.field, "trial"], kind="stable"
        )


def read_search(record: StudyRecord) -> SearchRecord | None:
    """Read the trials of a search; None for a grid.

    Parameters
    ----------
    record : StudyRecord
        Of the same folder.

    Raises
    ------
    CoppiceError
        If ``trials.csv`` is missing or damaged.
    """
    said = record.summary.search
    if said is None:
        return None
    score = next((_SCORES[name] for name in said.objectives if name in _SCORES), None)
    cost = next((cost for cost in COSTS if cost.field in said.objectives), None)
    if score is None or cost is None or cost.field not in said.reference:
        raise CoppiceError(f"{record.folder / 'study.json'} is damaged: it does not say what was searched for.")
    rows = _rows(record.folder / "trials.csv", [score.field, cost.field])
    done = rows[rows["status"] == "done"].reset_index(drop=True)
    reference = float(said.reference[cost.field]), float(said.reference[score.field.removeprefix("validation_")])
    running, failed = (int((rows["status"] == status).sum()) for status in ("running", "failed"))
    return SearchRecord(score, cost, reference, said.budget, done, running, failed)


def _rows(path: Path, objectives: list[str]) -> pd.DataFrame:
    with plain_os_errors("read the trials", path):
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows = pd.DataFrame(list(csv.DictReader(file, strict=True)), dtype=object)
        except (csv.Error, UnicodeDecodeError) as error:
            raise CoppiceError(f"{path} is damaged: {error}; coppice study search writes it again.") from error
    numbers = ("trial", *objectives, "joined", "hypervolume", "on_front")
    for name in ("status", "grid", "point", *numbers):
        if name not in rows or rows[name].isna().any():
            raise CoppiceError(
                f"{path} is damaged: the column {name!r} is not whole; coppice study search writes it again."
            )
    done = rows["status"] == "done"
    for name in numbers:
        rows[name] = pd.to_numeric(rows[name], errors="coerce")
        if rows.loc[done, name].isna().any():
            raise CoppiceError(f"{path} is damaged: {name} is not all numbers; coppice study search writes it again.")
    return rows
