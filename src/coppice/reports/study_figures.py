"""All charts of a study: which choices lead to which, and the same as files in the style of a page or of a paper."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.core.files import make_folder, whole_file
from coppice.core.progress import progress_bar
from coppice.reports.figure import Figure, check_formats, render, safe_name
from coppice.reports.search_figures import search_figures
from coppice.reports.search_records import read_search
from coppice.reports.study_curve_figure import curve_chart
from coppice.reports.study_curves import Curve, curves
from coppice.reports.study_front_figure import DATA, MOST_SVG, front_chart, front_rows, on_paper, plain_rows
from coppice.reports.study_measures import SCORES
from coppice.reports.study_pair_figure import pair_chart
from coppice.reports.study_pairs import Comparison, comparisons
from coppice.reports.study_points import StudyPoints, study_points
from coppice.reports.study_rankings import ranking_figure, read_rankings
from coppice.reports.study_records import StudyRecord, read_study
from coppice.reports.style import LIGHT, paper_config, vega_config

STYLES = ("page", "paper")
TOGETHER = "everything together"
_PAPER = {"width": 252, "height": 170, "step": 13, "columns": 3}  # pixels of 1/72 inch: one column of two
_SMALLER = {"size": 0.4, "strokeWidth": 0.6, "xOffset": 0.6}

Place = tuple[int, ...]


@dataclass(frozen=True)
class Chooser:
    """Charts among which a reader chooses.

    Attributes
    ----------
    name : str
        Of the group.
    legends : tuple of str
        What is chosen, one after the other.
    options : tuple of tuple of str
        The choices of each.
    figures : dict
        Index of the choice in each of ``options`` → its chart; some combinations have none.
    """

    name: str
    legends: tuple[str, ...]
    options: tuple[tuple[str, ...], ...]
    figures: dict[Place, Figure] = field(repr=False)


@dataclass(frozen=True)
class StudyFigures:
    """What a study's page draws.

    Attributes
    ----------
    points : StudyPoints
    rows : DataFrame
        The data set that the charts of fronts share.
    fronts, pairs : Chooser
    curves : tuple of Chooser
    compared : dict
        Place in ``pairs`` → the comparison that is drawn there.
    curved : tuple of tuple of Curve
        What each of ``curves`` draws.
    search : tuple of Figure
        How a search went; nothing for a grid.
    rankings : DataFrame
        From :func:`~coppice.reports.study_rankings.read_rankings`.
    similarity : Figure or None
        The errors of approximated similarities.
    """

    points: StudyPoints
    rows: pd.DataFrame = field(repr=False)
    fronts: Chooser
    pairs: Chooser
    curves: tuple[Chooser, ...]
    compared: dict[Place, Comparison]
    curved: tuple[tuple[Curve, ...], ...]
    rankings: pd.DataFrame = field(repr=False)
    similarity: Figure | None
    search: tuple[Figure, ...] = ()

    def all(self) -> tuple[Figure, ...]:
        """Return every chart once."""
        groups = (self.fronts, *self.curves, self.pairs)
        alone = () if self.similarity is None else (self.similarity,)
        return (*self.search, *(figure for group in groups for figure in group.figures.values()), *alone)


def study_figures(record: StudyRecord) -> StudyFigures:
    """Draw everything that a study has the runs for."""
    points = study_points(record)
    pairs, compared = _pairs(comparisons(record, points.units))
    own = points.frame[points.frame["unpruned"].astype(bool)]
    unpruned = {score.field: float(own[score.field].iloc[0]) for score in SCORES} if len(own) else {}
    found = curves(record, points.units, unpruned)
    search = read_search(record)
    groups = [tuple(group) for _, group in itertools.groupby(found, key=lambda curve: curve.along)]
    rankings = read_rankings(record)
    return StudyFigures(
        points=points,
        rows=front_rows(points, record.axes),
        fronts=_fronts(points, record.axes),
        pairs=pairs,
        curves=tuple(_curves(group) for group in groups),
        compared=compared,
        curved=tuple(groups),
        search=() if search is None else search_figures(search),
        rankings=rankings,
        similarity=ranking_figure(rankings, record.axes.get("criterion", ())),
    )


def study_figure_files(
    folder: Path, out: Path, *, formats: Sequence[str] = ("svg", "pdf"), style: str = "paper"
) -> tuple[Path, ...]:
    """Write the charts of a study as files.

    Parameters
    ----------
    folder : Path
        Of a study, finished or not.
    out : Path
        Where the files go; it is created.
    formats : sequence of {"svg", "png", "pdf"}
        One file each per chart.
    style : {"paper", "page"}
        ``paper``: one column of a two-column paper, with its serif face; ``page``: as the study page has them.

    Returns
    -------
    tuple of Path
        The files written.

    Raises
    ------
    CoppiceError
        If the folder holds no study, a format or style is unknown, or the disk refuses.
    """
    check_formats(formats)
    if style not in STYLES:
        raise CoppiceError(f"there is no style {style!r}. {did_you_mean(style, STYLES)}")
    figures = study_figures(read_study(Path(folder)))
    make_folder(out)
    written = []
    charts = figures.all()
    with progress_bar("drawing", len(charts), after_s=2.0) as advance:
        for figure in charts:
            spec = whole_spec(figure, figures, style)
            for name in formats:
                path = Path(out) / f"{figure.name}.{name}"
                with whole_file(path) as temporary:
                    temporary.write_bytes(render(spec, name))
                written.append(path)
            advance(1, figure.name)
    return tuple(written)


def whole_spec(figure: Figure, figures: StudyFigures, style: str) -> dict[str, Any]:
    """Return a chart's specification with its data, colours and size, as a file needs it."""
    spec = figure.spec | {"width": figure.paper_width, "config": vega_config(LIGHT)}
    if figure.name.startswith("front-"):
        place = next(place for place, each in figures.fronts.figures.items() if each.name == figure.name)
        bit = place[0] * len(figures.points.costs) + place[1]
        rows = plain_rows(on_paper(figures.rows, bit))
        left_out = len(figures.rows) - len(rows)
        spec |= {"datasets": {DATA: rows}}
        if left_out:
            spec |= {"title": f"{left_out:,} of {len(figures.rows):,} points not drawn; none of them on the front"}
    if style == "paper":
        height = {"step": _PAPER["step"]} if isinstance(spec["height"], dict) else _PAPER["height"]
        spec |= {"width": _PAPER["width"], "height": height, "config": paper_config()}
        spec["layer"] = [_smaller(layer) for layer in spec["layer"]]
    return spec


def _smaller(layer: dict[str, Any]) -> dict[str, Any]:
    """Return a layer, with those inside it, for the width of a column."""
    made = layer | {"encoding": {name: _narrow(channel) for name, channel in layer["encoding"].items()}}
    if "layer" in layer:
        return made | {"layer": [_smaller(each) for each in layer["layer"]]}
    sizes = {name: layer["mark"][name] * factor for name, factor in _SMALLER.items() if name in layer["mark"]}
    return made | {"mark": layer["mark"] | sizes}


def _narrow(channel: Any) -> Any:
    if not isinstance(channel, dict) or not channel.get("legend"):
        return channel
    return channel | {"legend": channel["legend"] | {"columns": _PAPER["columns"]}}


def _fronts(points: StudyPoints, axes: dict[str, tuple[str, ...]]) -> Chooser:
    drawn: dict[Place, Figure] = {}
    renderer = _renderer(len(points.frame))
    for (i, score), (j, cost) in itertools.product(enumerate(points.scores), enumerate(points.costs)):
        spec = front_chart(points, axes, score, cost)
        if spec is not None:
            drawn[i, j] = Figure(f"front-{score.field}-{cost.field}", spec, renderer=renderer)
    options = (tuple(score.name for score in points.scores), tuple(cost.name for cost in points.costs))
    return Chooser("front", ("Score", "Against"), options, drawn)


def _curves(group: Sequence[Curve]) -> Chooser:
    choices = {
        "Score": [curve.score.name for curve in group],
        "Against": [curve.below for curve in group],
        "Of": [_place(curve.where) for curve in group],
    }
    options = {legend: tuple(dict.fromkeys(chosen)) for legend, chosen in choices.items()}
    legends = tuple(legend for legend in options if legend == "Score" or len(options[legend]) > 1)
    named = _named((curve.key, curve_chart(curve), len(curve.points)) for curve in group)
    drawn: dict[Place, Figure] = {
        tuple(options[legend].index(choices[legend][number]) for legend in legends): figure
        for number, figure in enumerate(named)
    }
    return Chooser(f"along-{group[0].along}", legends, tuple(options[legend] for legend in legends), drawn)


def _pairs(found: Sequence[Comparison]) -> tuple[Chooser, dict[Place, Comparison]]:
    axes = tuple(dict.fromkeys(each.axis for each in found))
    places = tuple(dict.fromkeys(_place(each.where) for each in found))
    scores = tuple(dict.fromkeys(each.score.name for each in found))
    at: dict[Place, Comparison] = {
        (axes.index(each.axis), places.index(_place(each.where)), scores.index(each.score.name)): each for each in found
    }
    named = _named((each.key, pair_chart(each), len(each.pairs)) for each in at.values())
    drawn: dict[Place, Figure] = dict(zip(at, named, strict=True))
    return Chooser("pairs", ("Values of", "Over", "Score"), (axes, places, scores), drawn), at


def _place(where: tuple[str, str] | None) -> str:
    return TOGETHER if where is None else " ".join(where)


def _named(specs: Iterable[tuple[str, dict[str, Any], int]]) -> list[Figure]:
    """Name charts of so many marks for files; names that differ only in signs a file cannot have are numbered."""
    figures: dict[str, Figure] = {}
    for key, spec, marks in specs:
        plain = safe_name(key)
        numbered = (f"{plain}-{number}" for number in itertools.count(2))
        name = next(each for each in itertools.chain([plain], numbered) if each not in figures)
        figures[name] = Figure(name, spec, renderer=_renderer(marks))
    return list(figures.values())


def _renderer(marks: int) -> str:
    return "canvas" if marks > MOST_SVG else "svg"
