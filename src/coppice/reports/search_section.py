"""What the page of a study says of a search: how it went, and the points that validation clips chose."""

from collections.abc import Iterable
from dataclasses import dataclass

from coppice.core.units import count_text, percent_text
from coppice.reports.figure import Figure
from coppice.reports.search_figures import search_figures
from coppice.reports.search_records import SearchRecord
from coppice.reports.study_measures import COSTS
from coppice.reports.study_points import StudyPoints
from coppice.reports.study_records import AXIS, as_number
from coppice.reports.wording import UNKNOWN, plural


@dataclass(frozen=True)
class ChosenRow:
    """A point on the front of a search; ``here`` tells whether its runs are in this folder."""

    point: str
    values: str
    trial: str
    score: str
    cost: str
    accuracy: str
    log_loss: str
    here: bool


@dataclass(frozen=True)
class SearchSection:
    """The section: what is said, what is drawn, and the front."""

    sentence: str
    axes: str
    reference: str
    score: str
    cost: str
    figures: tuple[Figure, ...]
    rows: tuple[ChosenRow, ...]


def search_section(search: SearchRecord, points: StudyPoints, axes: Iterable[str]) -> SearchSection:
    """Say how a search went."""
    axes = list(axes)
    tested = points.frame.set_index("point")
    rows = []
    for row in search.front_after(len(search.done)).to_dict("records"):
        here = row["point"] in tested.index and not row["grid"]
        test = tested.loc[row["point"]] if here else None
        known = test is not None and test["accuracy"] == test["accuracy"]
        rows.append(
            ChosenRow(
                point=row["point"],
                values=" · ".join(_shortened(row[AXIS + axis]) for axis in axes),
                trial="grid" if row["grid"] else f"{row['trial']:.0f}",
                score=_score_text(search, row[search.score.field]),
                cost=count_text(row[search.cost.field]),
                accuracy=percent_text(float(test["accuracy"])) if test is not None and known else UNKNOWN,
                log_loss=f"{test['log_loss']:.3f}" if test is not None and known else UNKNOWN,
                here=here,
            )
        )
    return SearchSection(
        sentence=_sentence(search),
        axes=" · ".join(axis.removeprefix("ratio.") for axis in axes),
        reference=_reference_text(search),
        score=search.score.name,
        cost=search.cost.name,
        figures=search_figures(search),
        rows=tuple(rows),
    )


def _sentence(search: SearchRecord) -> str:
    names = {cost.field: cost.name for cost in COSTS}
    budget = " and ".join(f"{most:,} {names.get(cost, cost)}" for cost, most in search.budget.items())
    kept = f" Nothing with more than {budget} was trained." if budget else ""
    return (
        f"Points were chosen by {search.score.name} and {search.cost.name}, means over folds and seeds; test clips had "
        f"no part in it.{kept}"
    )


def _shortened(text: str) -> str:
    number = as_number(text)
    return text if number is None else f"{number:.2g}"


def search_sentence(search: SearchRecord) -> str:
    """Say how many trials there were and where the front leads."""
    own = len(search.done) - search.start
    parts = [plural(own, "trial") + (f" after {plural(search.start, 'point')} of a grid" if search.start else "")]
    parts += [f"{search.failed} failed"] if search.failed else []
    parts += [f"{search.running} under way"] if search.running else []
    front = search.front_after(len(search.done))
    sentence = f"{'; '.join(parts)}."
    if front.empty:
        return sentence
    least, most = front.iloc[0], front.iloc[-1]
    ends = [
        f"{_score_text(search, row[search.score.field])} with {count_text(row[search.cost.field])} {search.cost.name}"
        for row in (least, most)
    ]
    where = f"is {ends[0]}" if len(front) == 1 else f"leads from {ends[0]} to {ends[1]}"
    return f"{sentence} The front of {search.score.name} against {search.cost.name} {where}."


def _reference_text(search: SearchRecord) -> str:
    cost, score = search.reference
    return (
        f"{count_text(cost)} {search.cost.name} and a {search.score.name} of {_score_text(search, score)}, which is "
        "that of guessing"
    )


def _score_text(search: SearchRecord, value: float) -> str:
    return percent_text(value) if search.score.scale == 100 else f"{value:.3f}"
