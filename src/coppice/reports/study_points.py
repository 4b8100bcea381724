"""The points of a study: means over folds and seeds, with intervals, and the fronts that they are on."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from coppice.evaluation.paired_test import t_half_width
from coppice.reports.pareto_front import pareto_front
from coppice.reports.study_measures import COSTS, SCORES, Cost, Score
from coppice.reports.study_records import AXIS, RANKED, StudyRecord, is_ensemble
from coppice.reports.wording import plural

UNPRUNED = "unpruned"
_BASE = {
    "accuracy": "base_accuracy",
    "log_loss": "base_log_loss",
    "macs": "base_macs",
    "params_total": "base_params_total",
    "size_bytes": "base_size_bytes",
}


@dataclass(frozen=True)
class Units:
    """What means and tests count as one observation.

    Attributes
    ----------
    column : str
        ``fold``, or ``seed`` where the study has one fold only.
    count : int
        How many the study has.
    """

    column: str
    count: int

    @property
    def overlap(self) -> float:
        """n_test/n_train of the corrected t-test: 1 / (folds − 1); 0 for seeds on one fold."""
        return 1 / (self.count - 1) if self.column == "fold" else 0.0

    @property
    def sentence(self) -> str:
        """What a mean and its interval are."""
        if self.column == "fold":
            return (
                f"Means over {self.count} folds, of the means over seeds; 95 % t intervals over folds, n − 1 degrees "
                f"of freedom, with the variance of the mean taken as (1/n + 1/{self.count - 1}) s², since training "
                "sets of different folds overlap (Nadeau & Bengio 2003)."
            )
        if self.count == 1:
            return "One fold and one seed: each point is a single run, and nothing is known of chance."
        return (
            "Means over seeds, with 95 % t intervals: there is one fold only, so they say what the seed changes, and "
            "nothing of other clips."
        )


@dataclass(frozen=True)
class StudyPoints:
    """All points of a study.

    Attributes
    ----------
    frame : DataFrame
        One row per point: ``point``, ``unpruned``, ``ensemble``, the axes by name with the prefix ``axis.``,
        ``runs``, ``done``, ``whole`` (measured on the folds and seeds that most points are), each score with ``_low``
        and ``_high``, each cost, and ``front``, the numbers of the pairs of score and cost on whose front the point is,
        as bits.
    scores, costs : tuple
        Those that were measured.
    units : Units
    notes : tuple of str
    """

    frame: pd.DataFrame = field(repr=False)
    scores: tuple[Score, ...]
    costs: tuple[Cost, ...]
    units: Units
    notes: tuple[str, ...]

    def bit(self, score: Score, cost: Cost) -> int:
        """Return the number of a front in the column ``front``."""
        return self.scores.index(score) * len(self.costs) + self.costs.index(cost)

    def on_front(self, score: Score, cost: Cost) -> pd.DataFrame:
        """Return the points on one front, the cheapest first."""
        marked = self.frame["front"].to_numpy() >> self.bit(score, cost) & 1
        return self.frame[marked.astype(bool)].sort_values([cost.field, "point"], kind="stable")


def units_of(record: StudyRecord) -> Units:
    """Return what counts as one observation: folds, or seeds where there is one fold."""
    if len(record.folds) > 1:
        return Units("fold", len(record.folds))
    return Units("seed", len(record.seeds))


def with_changes(rows: pd.DataFrame) -> pd.DataFrame:
    """Add the changes against the unpruned network of the same fold and seed."""
    changes = {f"{name}_change": rows[name] - rows[_BASE[name]] for name in ("accuracy", "log_loss")}
    return rows.assign(**changes)


def study_points(record: StudyRecord) -> StudyPoints:
    """Average the runs of each point.

    Parameters
    ----------
    record : StudyRecord
        From :func:`~coppice.reports.study_records.read_study`.
    """
    units = units_of(record)
    done = with_changes(record.done)
    unpruned, notes = _unpruned(done)
    points = _averaged(done, units)
    counted = record.rows.groupby("point", sort=False)
    axes = [AXIS + name for name in record.axes]
    frame = counted[axes].first().assign(runs=counted.size())
    frame["unpruned"] = False
    frame["ensemble"] = is_ensemble(frame, record.summary.ensembles)
    frame["whole"] = _whole(done).reindex(frame.index, fill_value=False)
    frame = frame.join(points)
    if unpruned is not None:
        row = _averaged(unpruned, units).assign(runs=len(unpruned), unpruned=True, ensemble=False, whole=True)
        for score in ("accuracy_change", "log_loss_change"):  # it is what the others are compared with
            row[[score, f"{score}_low", f"{score}_high"]] = 0.0
        frame = pd.concat([row.reindex(columns=frame.columns), frame])
    frame["done"] = frame["done"].fillna(0).astype(int)
    scores = tuple(score for score in SCORES if frame.loc[~frame["unpruned"].astype(bool), score.field].notna().any())
    costs = tuple(cost for cost in COSTS if frame[cost.field].notna().any())
    frame["front"] = _fronts(frame, scores, costs)
    partial = int((~frame["whole"].astype(bool) & (frame["done"] > 0)).sum())
    if partial:
        lack = "lacks" if partial == 1 else "lack"
        notes.append(
            f"{plural(partial, 'point')} {lack} runs on folds or seeds that most points have: shown hollow, and on no "
            "front, since means over different folds do not compare."
        )
    return StudyPoints(frame.rename_axis("point").reset_index(), scores, costs, units, tuple(notes))


def _averaged(done: pd.DataFrame, units: Units) -> pd.DataFrame:
    """Average first the runs of each unit, then the units; costs over all runs that have them."""
    fields = [score.field for score in SCORES]
    extra = [name for name in ("macro_accuracy", "params_bn_folded", "seconds", *RANKED) if name in done]
    by_unit = done.groupby(["point", units.column], sort=False)[fields].mean()
    groups = by_unit.groupby("point", sort=False)
    means, deviations, counts = groups.mean(), groups.std(ddof=1), groups.count()
    frame = means
    for name in fields:
        half = t_half_width(deviations[name].to_numpy(), counts[name].to_numpy(), overlap=units.overlap)
        frame = frame.assign(**{f"{name}_low": means[name] - half, f"{name}_high": means[name] + half})
    for name in ("accuracy", "log_loss"):  # neither can leave its range
        frame[f"{name}_low"] = frame[f"{name}_low"].clip(lower=0)
    frame["accuracy_high"] = frame["accuracy_high"].clip(upper=1)
    runs = done.groupby("point", sort=False)
    return frame.join(runs[[cost.field for cost in COSTS] + extra].mean()).join(runs.size().rename("done"))


def _unpruned(done: pd.DataFrame) -> tuple[pd.DataFrame | None, list[str]]:
    """Return one row for each fold and seed with the unpruned network's numbers; None if there is not one."""
    columns = list(_BASE.values())
    bases = done.dropna(subset=["base_accuracy"]).drop_duplicates(["fold", "seed", *columns])
    if bases.empty:
        return None, ["The unpruned networks were not measured, so no change is shown."]
    if bases.duplicated(["fold", "seed"]).any():
        return None, [
            "The points go on from different unpruned networks, so none is drawn; changes are measured against each "
            "one's own."
        ]
    own = bases[["fold", "seed"]].assign(**{name: bases[column] for name, column in _BASE.items()})
    unknown = {cost.field: np.nan for cost in COSTS if cost.field not in _BASE}
    return own.assign(point=UNPRUNED, accuracy_change=0.0, log_loss_change=0.0, **unknown), []


def _whole(done: pd.DataFrame) -> pd.Series:
    """Tell which points were measured on all the folds and seeds that most points share."""
    sets: defaultdict[str, set[tuple[int, int]]] = defaultdict(set)  # a group-by takes seconds for 10,000 points
    for point, fold, seed in zip(done["point"], done["fold"], done["seed"], strict=True):
        sets[point].add((fold, seed))
    counts = Counter(map(frozenset, sets.values()))
    usual = max(counts, key=lambda each: (counts[each], len(each)), default=frozenset())
    return pd.Series({name: each >= usual for name, each in sets.items()}, dtype=bool)


def _fronts(frame: pd.DataFrame, scores: tuple[Score, ...], costs: tuple[Cost, ...]) -> np.ndarray:
    fronts = np.zeros(len(frame), dtype=np.int64)
    whole = frame["whole"].to_numpy(dtype=bool)
    number = 0
    for score in scores:
        values = np.where(whole, frame[score.field].to_numpy(dtype=np.float64), np.nan)
        for cost in costs:
            found = pareto_front(frame[cost.field].to_numpy(dtype=np.float64), values, higher=score.higher)
            fronts |= found.astype(np.int64) << number
            number += 1
    return fronts
