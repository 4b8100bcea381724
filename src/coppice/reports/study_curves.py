"""Scores along an axis: ratios, layers, any numbers; or against what fine-tuning on a share of the clips takes."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from coppice.evaluation.paired_test import t_half_width
from coppice.reports.study_measures import ACCURACY, ACCURACY_CHANGE, LOG_LOSS, SPENT, Cost, Score
from coppice.reports.study_points import Units, with_changes
from coppice.reports.study_records import AXIS, StudyRecord, as_number

DRAWN = (ACCURACY, LOG_LOSS, ACCURACY_CHANGE)
MOST_LINES = 12
LEAST_NUMBERS = 3  # of an axis that has a curve without being known here: two are a pair
# What stands along the axis below, and what gets a line of its own, in order of preference.
_CURVES = {
    "ratios": ("layers", "keep", "criterion", "system"),
    "fraction": ("system", "criterion", "keep", "layers"),
    "keep": ("criterion", "system", "fraction"),
    "layers": ("criterion", "system", "fraction"),
}
_SHARES = ("ratios", "fraction")
_TITLES = {
    "ratios": "share of the filters removed (%)",
    "fraction": "share of the training clips used in fine-tuning (%)",
    "keep": "layers cut, and filters kept",
    "layers": "layers cut",
}


@dataclass(frozen=True)
class CurvePoint:
    """One value of an axis on one line: a mean over all runs there, folds counting alike; and what they took."""

    x: str
    line: str
    mean: float
    interval: tuple[float, float] | None
    runs: int
    whole: bool
    spent: float | None = None


@dataclass(frozen=True)
class Curve:
    """Lines of one score.

    Attributes
    ----------
    along : str
        The axis below, or the one whose points are joined.
    values : tuple of str
        Its values in order.
    line : str or None
        The axis that has a line for each value.
    lines : tuple of str
        Names of the lines.
    where : (str, str) or None
        Another axis and the value at which alone was looked.
    averaged : tuple of str
        Axes with several values that were averaged over.
    score : Score
    points : tuple of CurvePoint
    unpruned : float or None
        Mean of the unpruned networks; None where they differ or were not measured.
    against : Cost or None
        What stands below in place of the axis: what the runs took.
    """

    along: str
    values: tuple[str, ...]
    line: str | None
    lines: tuple[str, ...]
    where: tuple[str, str] | None
    averaged: tuple[str, ...]
    score: Score
    points: tuple[CurvePoint, ...]
    unpruned: float | None
    against: Cost | None = None

    @property
    def key(self) -> str:
        """A name for files and choices."""
        place = "all" if self.where is None else self.where[1]
        against = "" if self.against is None else f"-{self.against.field}"
        return f"along-{self.along}-{place}-{self.score.field}{against}"

    @property
    def below(self) -> str:
        """What stands below, in a word or two."""
        return self.along if self.against is None else self.against.name

    @property
    def numbers(self) -> tuple[float, ...] | None:
        """The values as numbers, shares in percent, where all are."""
        found = [as_number(value) for value in self.values]
        whole = 100 if self.along in _SHARES else 1
        known = [whole * number for number in found if number is not None]
        return tuple(known) if len(known) == len(found) else None

    @property
    def title(self) -> str:
        """The title of what stands below."""
        if self.against is not None:
            return self.against.title
        known = self.along in _TITLES and (self.along not in _SHARES or self.numbers is not None)
        return _TITLES[self.along] if known else self.along


def curves(record: StudyRecord, units: Units, unpruned: dict[str, float]) -> tuple[Curve, ...]:
    """Return all curves that the axes of a study allow.

    Parameters
    ----------
    record : StudyRecord
        Finished or not; runs that are done count.
    units : Units
        What counts as one observation.
    unpruned : dict
        Field of a score → mean of the unpruned networks.
    """
    several = {name: values for name, values in record.axes.items() if len(values) > 1}
    found: list[Curve] = []
    for along, preferred in _CURVES.items():
        if along not in several or (along in ("keep", "layers") and "ratios" in several):
            continue  # with ratios, the sets of layers are the lines
        found += _along(record, units, unpruned, along, preferred)
    for name, values in several.items():
        if name not in _CURVES and len(values) >= LEAST_NUMBERS and all(as_number(one) is not None for one in values):
            found += _along(record, units, unpruned, name, ())
    return tuple(curve for curve in found if curve.points)


def _along(
    record: StudyRecord, units: Units, unpruned: dict[str, float], along: str, preferred: Iterable[str]
) -> Iterable[Curve]:
    several = {name: values for name, values in record.axes.items() if len(values) > 1 and name != along}
    few = [name for name, values in several.items() if len(values) <= MOST_LINES]
    ranked = [name for name in preferred if name in few] + [name for name in few if name not in preferred]
    line, panel = (*ranked, None, None)[:2]
    places = [None, *((panel, value) for value in several[panel])] if panel else [None]
    rows = with_changes(record.single[record.single["status"] == "done"])
    for where in places:
        chosen = rows if where is None else rows[rows[AXIS + where[0]] == where[1]]
        fixed = {along, line} | ({where[0]} if where else set())
        averaged = tuple(name for name in several if name not in fixed)
        below: tuple[Cost | None, ...] = (None, *(_known_spent(chosen) if along == "fraction" else ()))
        for score, against in itertools.product(DRAWN, below):
            points = tuple(_points(chosen, along, line, score, units, against))
            at, named = {point.x for point in points}, {point.line for point in points}
            values = tuple(value for value in record.axes[along] if value in at)
            shown = tuple(name for name in (several[line] if line else (score.name,)) if name in named)
            base = unpruned.get(score.field)
            yield Curve(along, values, line, shown, where, averaged, score, points, base, against)


def _known_spent(rows: pd.DataFrame) -> tuple[Cost, ...]:
    """Return what is known of what fine-tuning took; results from before some of the columns have fewer."""
    return tuple(cost for cost in SPENT if cost.field in rows and rows[cost.field].max() > 0)


def _points(
    rows: pd.DataFrame, along: str, line: str | None, score: Score, units: Units, against: Cost | None
) -> list[CurvePoint]:
    keys = [AXIS + along, *([AXIS + line] if line else [])]
    fields = [score.field, *([against.field] if against else [])]
    known = rows.dropna(subset=fields)
    both = known.groupby([*keys, units.column], sort=False)[fields].mean()
    by_unit = both[score.field]
    groups = by_unit.groupby(keys, sort=False)
    means, counts = groups.mean(), groups.count()
    spent = both[against.field].groupby(keys, sort=False).mean().tolist() if against else [None] * len(means)
    half = t_half_width(groups.std(ddof=1).to_numpy(), counts.to_numpy(), overlap=units.overlap)
    least, most = (0.0, 1.0) if score is ACCURACY else (0.0, np.inf) if score is LOG_LOSS else (-np.inf, np.inf)
    low, high = np.maximum(means.to_numpy() - half, least), np.minimum(means.to_numpy() + half, most)
    runs = known.groupby(keys, sort=False).size().reindex(means.index)
    names = list(means.index) if line else [(value, score.name) for value in means.index]
    return [
        CurvePoint(x, name, float(mean), None if np.isnan(start) else (float(start), float(end)), int(count), whole, at)
        for (x, name), mean, start, end, count, whole, at in zip(
            names, means, low, high, runs, (counts == units.count).tolist(), spent, strict=True
        )
    ]
