"""The charts of a run or a cross-validation, by section of the report, and the same as files."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.core.files import make_folder, whole_file
from coppice.reports.class_figures import class_dumbbells, confusion_matrix
from coppice.reports.cost_figures import COSTS, Point, accuracy_against, accuracy_against_cost, run_points
from coppice.reports.cross_validation_records import CrossValidationRecord
from coppice.reports.fold_figures import cross_validation_points, fold_dots
from coppice.reports.layer_filters import LayerFilters
from coppice.reports.run_records import RunRecord
from coppice.reports.similarity_figures import nearest_histogram, similarity_map
from coppice.reports.style import LIGHT, vega_config
from coppice.reports.training_figures import fitted_stages, shared_range, training_curve

FORMATS = ("svg", "png", "pdf")
VEGALITE_VERSION = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
MOST_LAYERS = 12


@dataclass(frozen=True)
class Figure:
    """One chart: a file-safe name, its Vega-Lite specification without colours, and how a page draws it."""

    name: str
    spec: dict[str, Any]
    renderer: str = "svg"
    paper_width: int = 520


@dataclass(frozen=True)
class RunFigures:
    """The charts of one run by section; empty where there was nothing to draw."""

    cost: Figure | None
    training: tuple[Figure, ...]
    confusion: tuple[Figure, ...]
    classes: Figure | None
    nearest: tuple[Figure, ...]
    maps: tuple[Figure, ...]

    def all(self) -> tuple[Figure, ...]:
        """Return every chart, in the order of the page."""
        single = tuple(figure for figure in (self.cost, self.classes) if figure is not None)
        return (*single, *self.training, *self.confusion, *self.nearest, *self.maps)


@dataclass(frozen=True)
class CrossValidationFigures:
    """The charts of a cross-validation."""

    cost: Figure | None
    folds: Figure | None

    def all(self) -> tuple[Figure, ...]:
        """Return every chart, in the order of the page."""
        return tuple(figure for figure in (self.cost, self.folds) if figure is not None)


def run_figures(run: RunRecord, layers: Sequence[LayerFilters]) -> RunFigures:
    """Draw everything that a run has the records for.

    Parameters
    ----------
    run : RunRecord
        Finished or not.
    layers : sequence of LayerFilters
        The convolutions of its unpruned network; the first twelve are drawn.
    """
    stages = fitted_stages(run)
    loss_range = shared_range(stages)
    after = run.last_stage(run.systems[0]) if run.systems else None
    matrices, dumbbells = [], None
    for stage in (run.unpruned, after):
        if stage is not None and stage.test is not None:
            matrices.append(as_figure(f"confusion-{stage.entry.id}", confusion_matrix(stage.test, stage.entry.title)))
    if run.unpruned is not None and run.unpruned.test is not None and after is not None and after.test is not None:
        dumbbells = class_dumbbells(run.unpruned.test, after.test)
    drawn = layers[:MOST_LAYERS]
    return RunFigures(
        cost=as_figure("accuracy-against-cost", accuracy_against_cost(run_points(run), run.systems)),
        training=_some(as_figure(f"training-{s.entry.id}", training_curve(s, loss_range)) for s in stages),
        confusion=_some(matrices),
        classes=as_figure("class-changes", dumbbells),
        nearest=_some(as_figure(f"nearest-{layer.name}", nearest_histogram(layer)) for layer in drawn),
        maps=_some(
            as_figure(f"similarity-{layer.name}", similarity_map(layer), renderer="canvas", paper_width=240)
            for layer in drawn
            if layer.filters > 1
        ),
    )


def cross_validation_figures(record: CrossValidationRecord) -> CrossValidationFigures:
    """Draw everything that a cross-validation has the records for."""
    points = cross_validation_points(record)
    return CrossValidationFigures(
        cost=as_figure("accuracy-against-cost", accuracy_against_cost(points, record.systems)),
        folds=as_figure("accuracy-per-fold", fold_dots(record, record.systems)),
    )


def on_paper(figures: Sequence[Figure], points: list[Point], systems: Sequence[str]) -> tuple[Figure, ...]:
    """Replace the chart in which the reader chooses the cost by one chart per cost."""
    fixed = [as_figure(f"accuracy-against-{cost.field}", accuracy_against(points, systems, cost)) for cost in COSTS]
    return (*_some(fixed), *(figure for figure in figures if figure.name != "accuracy-against-cost"))


def check_formats(formats: Sequence[str]) -> None:
    """Refuse a file format that figures cannot have.

    Examples
    --------
    >>> check_formats(["svg", "gif"])
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: figures cannot be written as 'gif'. Known: 'svg', 'png', 'pdf'.
    """
    for name in formats:
        if name not in FORMATS:
            raise CoppiceError(f"figures cannot be written as {name!r}. {did_you_mean(name, FORMATS)}")


def write_figures(figures: Sequence[Figure], folder: Path, formats: Sequence[str]) -> tuple[Path, ...]:
    """Write charts as files for a paper, in the light palette.

    Parameters
    ----------
    figures : sequence of Figure
        Without controls (see :func:`on_paper`).
    folder : Path
        Created.
    formats : sequence of {"svg", "png", "pdf"}
        One file each per chart (see :func:`check_formats`).

    Raises
    ------
    CoppiceError
        If the disk refuses.
    """
    make_folder(folder)
    written = []
    for figure in figures:
        spec = figure.spec | {"config": vega_config(LIGHT), "width": figure.paper_width}
        for name in formats:
            path = folder / f"{figure.name}.{name}"
            with whole_file(path) as temporary:
                temporary.write_bytes(render(spec, name))
            written.append(path)
    return tuple(written)


def render(spec: dict[str, Any], name: str) -> bytes:
    """Draw a specification that has its colours as a file of a format of :data:`FORMATS`."""
    if name == "svg":
        return str(vl_convert.vegalite_to_svg(spec, vl_version=VEGALITE_VERSION)).encode()
    if name == "png":
        return bytes(vl_convert.vegalite_to_png(spec, vl_version=VEGALITE_VERSION, scale=2))
    return bytes(vl_convert.vegalite_to_pdf(spec, vl_version=VEGALITE_VERSION))


def as_figure(name: str, chart: Any, **options: Any) -> Figure | None:
    """Return a chart under a name that can be a file's; None where there is no chart."""
    if chart is None:
        return None
    spec = chart.to_dict()
    for key in ("config", "$schema"):  # the page and the files bring their own
        spec.pop(key, None)
    return Figure(name=re.sub(r"[^A-Za-z0-9_.]+", "-", name).strip("-."), spec=spec, **options)


def _some(figures: Any) -> tuple[Figure, ...]:
    return tuple(figure for figure in figures if figure is not None)
