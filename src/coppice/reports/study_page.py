"""The page of a study: one HTML file that needs no network."""

import base64
import gzip
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coppice.core.files import write_text
from coppice.core.progress import progress_bar
from coppice.core.units import count_text, percent_text
from coppice.reports.figure import render
from coppice.reports.headline import Headline
from coppice.reports.html import html_page
from coppice.reports.search_records import read_search
from coppice.reports.search_section import search_section, search_sentence
from coppice.reports.study_curves import Curve
from coppice.reports.study_figures import Chooser, Place, StudyFigures, study_figures, whole_spec
from coppice.reports.study_front_figure import DATA, plain_column
from coppice.reports.study_measures import ACCURACY, COSTS
from coppice.reports.study_pairs import verdict
from coppice.reports.study_rankings import ranking_rows
from coppice.reports.study_records import StudyRecord, read_study
from coppice.reports.study_tables import failures, front_table, pair_notes, pair_table
from coppice.reports.wording import plural

MOST_PDF = 8  # drawn for the page; the others by study_figure_files


@dataclass(frozen=True)
class CurveSection:
    """The curves along one axis: a heading, what to choose from, and what must be said with it."""

    title: str
    chooser: Chooser
    caption: str


def write_study_page(folder: Path) -> Path:
    """Write ``study.html`` into the folder of a study.

    Parameters
    ----------
    folder : Path
        Of a study, finished or not; only this folder is read.

    Returns
    -------
    Path
        The page: one file, readable offline and on a phone.

    Raises
    ------
    CoppiceError
        If the folder holds no study or the disk refuses.
    """
    record = read_study(Path(folder))
    path = record.folder / "study.html"
    write_text(path, _page(record, study_figures(record)))
    return path


def _page(record: StudyRecord, figures: StudyFigures) -> str:
    points = figures.points
    unit, folds = points.units.column, len(record.folds)
    search = read_search(record)
    return html_page(
        "study.html",
        figures.all(),
        title=record.summary.title,
        name=record.summary.name,
        headline=_headline(record, figures),
        facts=_facts(record),
        synthetic="",
        notes=(*record.notes, *points.notes),
        figures=figures,
        units_sentence=points.units.sentence,
        search=None if search is None else search_section(search, points, record.axes),
        command=record.summary.command,
        single=bool((points.frame["runs"] <= 1).all()),
        fronts=[
            front_table(points, points.scores[place[0]], points.costs[place[1]], _key(place))
            for place in figures.fronts.figures
        ],
        pairs=[pair_table(comparison, _key(place)) for place, comparison in figures.compared.items()],
        pair_notes=tuple(pair_notes(unit, folds, points.units.overlap)),
        unit=unit,
        rankings=ranking_rows(figures.rankings),
        curves=[_section(*each) for each in zip(figures.curves, figures.curved, strict=True)],
        axes={name: (*values, *record.ensembles.get(name, ())) for name, values in record.axes.items()},
        failures=failures(record.failed),
        environment=_environment(record),
        recipe="",
        columns=record.summary.columns,
        datasets={DATA: {name: plain_column(figures.rows[name]) for name in figures.rows.columns}},
        data={
            "csv": record.text,
            "reports": "".join("1" if there else "0" for there in _reports(record)),
            "axes": list(record.axes),
            "choosers": {
                group.name: {_key(place): figure.name for place, figure in group.figures.items()}
                for group in (figures.fronts, figures.pairs, *figures.curves)
            },
            "pdfs": _pdfs(figures),
        },
    )


def _key(place: Place) -> str:
    return ",".join(map(str, place))


def _reports(record: StudyRecord) -> Iterable[bool]:
    """Tell which runs have a report."""
    return ((record.folder / run / "report.html").is_file() if run else False for run in record.rows["run"])


def _pdfs(figures: StudyFigures) -> dict[str, str]:
    """Draw the charts that a reader meets first as PDF, packed."""
    groups = (figures.fronts, figures.pairs, *figures.curves)
    ranked = sorted(((sum(place), figure) for group in groups for place, figure in group.figures.items()), key=_first)
    chosen = [figure for _, figure in ranked[:MOST_PDF]]
    packed = {}
    with progress_bar("drawing", len(chosen), after_s=2.0) as advance:
        for figure in chosen:
            drawn = render(whole_spec(figure, figures, "page"), "pdf")
            packed[figure.name] = base64.b64encode(gzip.compress(drawn, 6, mtime=0)).decode()
            advance(1, figure.name)
    return packed


def _first(ranked: tuple[int, Any]) -> int:
    return ranked[0]


def _headline(record: StudyRecord, figures: StudyFigures) -> Headline:
    points = figures.points
    single = record.single
    done, runs = int((single["status"] == "done").sum()), len(single)
    if not done:
        return Headline(f"None of {plural(runs, 'run')} is done yet.", (), ())
    search = read_search(record)
    if search is not None:
        return Headline(search_sentence(search), (), ())
    macs = next(cost for cost in COSTS if cost.field == "macs")
    front = points.on_front(ACCURACY, macs)
    ensembles = int(points.frame["ensemble"].sum())
    count = int((~points.frame["unpruned"].astype(bool)).sum()) - ensembles
    sentence = f"{plural(count, 'point')}, measured in {plural(done, 'run')}"
    sentence += f", and {plural(ensembles, 'ensemble')} of them." if ensembles else "."
    if len(front) > 1:
        least, most = front.iloc[0], front.iloc[-1]
        sentence += (
            f" The front of accuracy against MACs leads from {percent_text(least['accuracy'])} with "
            f"{count_text(least['macs'])} ({least['point']}) to {percent_text(most['accuracy'])} with "
            f"{count_text(most['macs'])} ({most['point']})."
        )
    together = [comparison for comparison in figures.compared.values() if comparison.where is None]
    first = together[0].axis if together else None
    verdicts = dict.fromkeys(verdict(each) for each in together if each.axis == first)  # one may be said of each score
    return Headline(sentence, tuple(verdicts), ())


def _facts(record: StudyRecord) -> list[str]:
    facts = [record.summary.combined]
    if any(record.folds):
        facts.append(plural(len(record.folds), "fold"))
    facts.append(plural(len(record.seeds), "seed"))
    return [fact for fact in facts if fact]


def _environment(record: StudyRecord) -> dict[str, str]:
    versions = Counter(version for version in record.rows["coppice_version"] if version)
    statuses = Counter(record.rows["status"])
    said = {
        "study": record.summary.name,
        "axes": record.summary.combined,
        **{name: ", ".join(values) for name, values in record.axes.items() if len(values) <= 40},
        "folds": ", ".join(filter(None, record.folds)),
        "seeds": ", ".join(record.seeds),
        "runs": ", ".join(f"{count:,} {status}" for status, count in statuses.items()),
        "Coppice": ", ".join(f"{version} ({plural(count, 'run')})" for version, count in versions.items()),
        "where": record.summary.where,
    }
    return {name: value for name, value in said.items() if value}


def _section(chooser: Chooser, curves: tuple[Curve, ...]) -> CurveSection:
    curve = curves[0]
    by = f", by {curve.line}" if curve.line else ""
    parts = ["Means with 95 % intervals, as above; lines stand a little apart so that their intervals can be seen."]
    if any(each.against is not None for each in curves):
        parts.append(
            f"Against what fine-tuning took, a mark stands at the mean over its runs, and lines join the values of "
            f"{curve.along} in their order; MACs are three times those of a clip for each clip seen, once for each "
            "validation clip in each epoch, and a teacher's once for each clip."
        )
    if curve.unpruned is not None:
        parts.append("The dashed line is the unpruned network.")
    if curve.averaged:
        parts.append(f"“Everything together” averages over {' and '.join(curve.averaged)}.")
    if not all(point.whole for each in curves for point in each.points):
        parts.append("Hollow marks lack a fold or seed that others have, and do not compare with them.")
    return CurveSection(f"Against {curve.along}{by}", chooser, " ".join(parts))
