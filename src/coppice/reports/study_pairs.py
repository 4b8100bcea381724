"""One value of an axis against another: paired over folds, seeds and all other axes, with a corrected test."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace

import pandas as pd

from coppice.evaluation.paired_test import PairedTest, corrected_t_test, holm
from coppice.reports.study_measures import ACCURACY, LOG_LOSS, Score
from coppice.reports.study_points import Units
from coppice.reports.study_records import AXIS, StudyRecord

ALPHA = 0.05
MOST_VALUES = 12
MOST_PAIRS = MOST_VALUES * (MOST_VALUES - 1) // 2
COMPARED = (ACCURACY, LOG_LOSS)
_FEW = 3  # of what a sentence lists
_FIRST = ("criterion", "system")
_STRATA = ("ratios", "fraction")
ENSEMBLE, CHOSEN = "ensemble", "ensemble and chosen one"


@dataclass(frozen=True)
class Pair:
    """Two values of an axis.

    Attributes
    ----------
    first, second : str
    test : PairedTest
        Of the score with ``first`` minus that with ``second``; one difference per fold.
    runs : int
        Pairs of runs that differ in nothing but this axis.
    p_corrected : float or None
        Holm's, over all pairs of the table; None where there was no test.
    """

    first: str
    second: str
    test: PairedTest
    runs: int
    p_corrected: float | None

    @property
    def differ(self) -> bool:
        """Whether a difference is shown at 5 %."""
        return self.p_corrected is not None and self.p_corrected < ALPHA


@dataclass(frozen=True)
class Comparison:
    """All pairs of the values of an axis.

    Attributes
    ----------
    axis : str
        Or :data:`ENSEMBLE`: ensembles against each of the single networks that members are; or :data:`CHOSEN`:
        against the one that validation clips chose.
    where : (str, str) or None
        Another axis and the value at which alone was compared; None: over all.
    score : Score
    pairs : tuple of Pair
        In the order of the axis.
    """

    axis: str
    where: tuple[str, str] | None
    score: Score
    pairs: tuple[Pair, ...]

    @property
    def key(self) -> str:
        """A name for files and choices."""
        place = "all" if self.where is None else "-".join(self.where)
        return f"pairs-{self.axis}-{place}-{self.score.field}"

    @property
    def tested(self) -> tuple[Pair, ...]:
        """The pairs of which a difference could be tested."""
        return tuple(pair for pair in self.pairs if pair.p_corrected is not None)


def compared_axes(record: StudyRecord) -> tuple[str, ...]:
    """Return the axes whose values can be set against each other, the criterion first."""
    several = [name for name, values in record.axes.items() if 2 <= len(values) <= MOST_VALUES]
    return tuple(sorted(several, key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST)))


def comparisons(record: StudyRecord, units: Units) -> tuple[Comparison, ...]:
    """Compare the values of each axis, over everything else, and at each ratio or fraction alone.

    Ensembles come first, against the single network that was chosen on validation clips, then against each.

    Parameters
    ----------
    record : StudyRecord
        Finished or not: only runs that are done and have a partner count.
    units : Units
        What counts as one observation.
    """
    done, found = record.done, []
    for axis, names in record.ensembles.items():
        chosen = [name for name in names if record.summary.ensembles[name].size == 1]
        others = [name for name in names if name not in chosen]
        for title, singles in ((CHOSEN, chosen), (ENSEMBLE, record.axes[axis])):
            pairs = [*itertools.product(others, singles)]
            if len(pairs) <= MOST_PAIRS:
                compared = (compare(done, axis, record.axes, score, units, pairs=pairs) for score in COMPARED)
                found += [replace(each, axis=title) for each in compared]
    done = record.single[record.single["status"] == "done"]
    for axis in compared_axes(record):
        strata: list[tuple[str, str] | None] = [None]
        for other in _STRATA:
            values = record.axes.get(other, ())
            if other != axis and 2 <= len(values) <= MOST_VALUES:
                strata += [(other, value) for value in values]
        for where in strata:
            rows = done if where is None else done[done[AXIS + where[0]] == where[1]]
            found += [compare(rows, axis, record.axes, score, units, where=where) for score in COMPARED]
    return tuple(each for each in found if any(pair.runs for pair in each.pairs))


def compare(
    done: pd.DataFrame,
    axis: str,
    axes: dict[str, tuple[str, ...]],
    score: Score,
    units: Units,
    *,
    where: tuple[str, str] | None = None,
    pairs: Iterable[tuple[str, str]] | None = None,
) -> Comparison:
    """Set each value of an axis against each other one.

    Runs are partners if they have the same fold, seed and values of all other axes. The differences of partners are
    averaged within each fold, so that a fold is one observation whatever the number of seeds and points: seeds share
    the clips of their fold. Then :func:`~coppice.evaluation.paired_test.corrected_t_test`, and Holm's correction over
    all pairs.

    Parameters
    ----------
    done : DataFrame
        Rows of runs that are done.
    axis : str
        Whose values are compared.
    axes : dict
        All axes of the study with their values.
    score : Score
        What is compared.
    units : Units
        What counts as one observation.
    where : (str, str), optional
        What ``done`` was limited to, for the title.
    pairs : iterable of (str, str), optional
        Which values are compared; each with each other one if not given.
    """
    same = ["fold", "seed", *(AXIS + name for name in axes if name != axis)]
    wide = done.pivot(index=same, columns=AXIS + axis, values=score.field)
    unit = wide.index.get_level_values(units.column)
    tests = []
    for first, second in itertools.combinations(axes[axis], 2) if pairs is None else pairs:
        if first not in wide or second not in wide:
            continue
        differences = (wide[first] - wide[second]).dropna()
        means = differences.groupby(unit[wide.index.isin(differences.index)]).mean()
        test = corrected_t_test(means.to_list(), overlap=units.overlap)
        tests.append((first, second, test, len(differences)))
    corrected = iter(holm([test.p_value for _, _, test, _ in tests if test.p_value is not None]))
    made = (
        Pair(first, second, test, runs, None if test.p_value is None else next(corrected))
        for first, second, test, runs in tests
    )
    return Comparison(axis, where, score, tuple(made))


def verdict(comparison: Comparison) -> str:
    """Say in a sentence what a comparison shows.

    Examples
    --------
    >>> test = corrected_t_test([0.01, -0.02, 0.01, 0.0], overlap=1 / 3)
    >>> pair = Pair("l1", "random", test, 12, test.p_value)
    >>> verdict(Comparison("criterion", None, ACCURACY, (pair,)))
    'No difference in accuracy is shown between l1 and random (p = 1.00).'
    """
    tested, differ = comparison.tested, [pair for pair in comparison.pairs if pair.differ]
    name, axis = comparison.score.name, comparison.axis
    single = {ENSEMBLE: "a single network", CHOSEN: "the single network that was chosen"}.get(axis)
    of = axis if single is None else "ensembles"
    either = f"any two values of {axis}" if single is None else f"an ensemble and {single}"
    pairs_of = f"pairs of {axis}" if single is None else f"pairs of an ensemble and {single}"
    at = "" if comparison.where is None else f" at {comparison.where[0]} {comparison.where[1]}"
    if not tested:
        return f"Nothing could be tested of {of}{at}: that takes runs on at least two folds or seeds."
    if len(tested) == 1 and not differ:
        pair = tested[0]
        return f"No difference in {name} is shown between {pair.first} and {pair.second}{at} ({p_text(pair)})."
    if not differ:
        return f"No difference in {name} is shown between {either}{at} ({len(tested)} pairs)."
    if len(differ) <= _FEW:
        said = _listed(_better(pair, comparison.score) for pair in differ)
        rest = "" if len(differ) == len(tested) else "; of the other pairs no difference is shown"
        return f"In {name}{at}, {said}{rest}."
    if len(differ) == len(tested):
        return f"In {name}{at}, all {len(tested)} {pairs_of} differ."
    groups = _groups(differ, comparison.score)
    if len(groups) <= _FEW:
        said = "; ".join(f"{behind} is worse than {_listed(ahead)}" for behind, ahead in groups.items())
        return f"In {name}{at}, by {of}: {said}; of the other pairs no difference is shown."
    return f"In {name}{at}, {len(differ)} of {len(tested)} {pairs_of} differ; of the others no difference is shown."


def p_text(pair: Pair) -> str:
    """Write the corrected p-value of a pair.

    Examples
    --------
    >>> p_text(Pair("a", "b", PairedTest(0.1, (0.05, 0.15), 1e-5, 5), 5, 1e-5))
    'p < 0.001'
    """
    if pair.p_corrected is None:
        return "no test"
    if pair.p_corrected < 0.001:
        return "p < 0.001"
    digits = 3 if pair.p_corrected < 0.095 else 2
    return f"p = {pair.p_corrected:.{digits}f}"


def _better(pair: Pair, score: Score) -> str:
    ahead, behind = _order(pair, score)
    return f"{ahead} is better than {behind} ({p_text(pair)})"


def _groups(pairs: Iterable[Pair], score: Score) -> dict[str, list[str]]:
    """Return the worse ones of pairs, each with what is better; the one that is behind most others comes first."""
    found: dict[str, list[str]] = {}
    for ahead, behind in (_order(pair, score) for pair in pairs):
        found.setdefault(behind, []).append(ahead)
    return dict(sorted(found.items(), key=lambda one: -len(one[1])))


def _order(pair: Pair, score: Score) -> tuple[str, str]:
    """Return the better one of a pair, and the other."""
    return (pair.first, pair.second) if (pair.test.mean > 0) == score.higher else (pair.second, pair.first)


def _listed(parts: Iterable[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last
