"""The charts of a run or a cross-validation, by section of the report."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from coppice.reports.class_figures import class_dumbbells, confusion_matrix
from coppice.reports.cost_figures import COSTS, Point, accuracy_against, accuracy_against_cost, run_points
from coppice.reports.cross_validation_records import CrossValidationRecord
from coppice.reports.figure import Figure, as_figure
from coppice.reports.fold_figures import cross_validation_points, fold_dots
from coppice.reports.layer_filters import LayerFilters
from coppice.reports.run_records import RunRecord
from coppice.reports.similarity_figures import nearest_histogram, similarity_map
from coppice.reports.training_figures import fitted_stages, shared_range, training_curve

MOST_LAYERS = 12


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


def _some(figures: Any) -> tuple[Figure, ...]:
    return tuple(figure for figure in figures if figure is not None)
