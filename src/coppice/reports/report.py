"""The report of a run: one HTML file that needs no network."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from coppice.core.files import write_text
from coppice.core.units import count_text
from coppice.reports.cost_figures import run_points
from coppice.reports.cross_validation_headline import cross_validation_headline, cross_validation_table
from coppice.reports.cross_validation_records import CrossValidationRecord, read_cross_validation
from coppice.reports.data_tables import data_tables, device_table
from coppice.reports.energy_table import cross_validation_energy_table, inference_table, run_energy_table
from coppice.reports.figure import check_formats, write_figures
from coppice.reports.figures import MOST_LAYERS, cross_validation_figures, on_paper, run_figures
from coppice.reports.filters_drawing import LayerDrawing, Overlay, draw_layer, kept_filters, overlay
from coppice.reports.fold_figures import cross_validation_points
from coppice.reports.headline import run_headline
from coppice.reports.html import html_page
from coppice.reports.layer_filters import LayerFilters, filters_of_run
from coppice.reports.markdown import SYNTHETIC
from coppice.reports.run_folder import is_cross_validation
from coppice.reports.run_records import RunRecord, read_run
from coppice.reports.stage_table import stage_table
from coppice.reports.wording import seconds_text


def write_report(run_folder: Path) -> Path:
    """Write ``report.html`` into a run folder or a cross-validation folder.

    Parameters
    ----------
    run_folder : Path
        What a run left, finished or not; only this folder is read.

    Returns
    -------
    Path
        The report: one file, readable offline, on a phone and on paper.

    Raises
    ------
    CoppiceError
        If the folder is not a run or the disk refuses.
    """
    run_folder = Path(run_folder)
    path = run_folder / "report.html"
    if is_cross_validation(run_folder):
        text = _cross_validation_page(read_cross_validation(run_folder))
    else:
        text = _run_page(read_run(run_folder))
    write_text(path, text)
    return path


def figure_files(run_folder: Path, folder: Path, formats: Sequence[str] = ("svg", "png")) -> tuple[Path, ...]:
    """Write the charts of a report as files for a paper or a slide.

    Parameters
    ----------
    run_folder : Path
        A run or a cross-validation.
    folder : Path
        Where the files go; it is created.
    formats : sequence of {"svg", "png", "pdf"}
        One file each per chart.

    Returns
    -------
    tuple of Path
        The files written.

    Raises
    ------
    CoppiceError
        If the folder is not a run, a format is unknown or the disk refuses.
    """
    check_formats(formats)
    run_folder = Path(run_folder)
    if is_cross_validation(run_folder):
        record = read_cross_validation(run_folder)
        figures = on_paper(cross_validation_figures(record).all(), cross_validation_points(record), record.systems)
    else:
        run = read_run(run_folder)
        layers, _ = filters_of_run(run)
        figures = on_paper(run_figures(run, layers).all(), run_points(run), run.systems)
    return write_figures(figures, Path(folder), formats)


@dataclass(frozen=True)
class SystemTiles:
    """One system's view of a layer: which filters it kept, and what to lay over the drawing."""

    system: str
    kept: tuple[int, ...]
    overlay: Overlay


@dataclass(frozen=True)
class LayerTiles:
    """One layer's drawing with every system that cut it."""

    layer: LayerFilters
    drawing: LayerDrawing
    systems: tuple[SystemTiles, ...]
    left_whole: tuple[str, ...]
    whole: Overlay


def _layer_tiles(run: RunRecord, layers: Sequence[LayerFilters]) -> list[LayerTiles]:
    kept = {system: kept_filters(run, system) for system in run.systems}
    result = []
    for layer in layers[:MOST_LAYERS]:
        drawing = draw_layer(layer)
        systems = tuple(
            SystemTiles(system, kept[system][layer.name], overlay(drawing, kept[system][layer.name]))
            for system in run.systems
            if layer.name in kept[system]
        )
        left_whole = tuple(system for system in run.systems if layer.name not in kept[system])
        result.append(LayerTiles(layer, drawing, systems, left_whole, overlay(drawing, range(drawing.shown))))
    return result


def _took(seconds: float | None, macs: int | None) -> str:
    time = seconds_text(seconds)
    return time if macs is None else f"{time} and {count_text(macs)}MACs"


def _run_page(run: RunRecord) -> str:
    layers, filters_note = filters_of_run(run)
    figures = run_figures(run, layers)
    after = run.last_stage(run.systems[0]) if run.systems else None
    fits = [
        (stage.entry.title, stage.metrics.training, _took(stage.seconds, stage.metrics.training.macs_spent))
        for stage in run.stages
        if stage.metrics.training is not None
    ]
    facts = [
        f"seed {run.summary.seed}" if run.summary.seed is not None else "",
        f"test fold {run.summary.test_fold}" if run.summary.test_fold is not None else "",
        f"took {seconds_text(run.summary.seconds)}" if run.summary.seconds is not None else "",
        "one split and one seed: a cross-validation says more",
    ]
    return html_page(
        "run.html",
        figures.all(),
        run=run,
        title=run.summary.title,
        name=run.summary.name,
        facts=[fact for fact in facts if fact],
        synthetic=SYNTHETIC if run.data is not None and run.data.synthetic else "",
        headline=run_headline(run),
        table=stage_table(run),
        figures=figures,
        after=after,
        fits=fits,
        epochs_from_zero=any(stage.history[0].epoch == 0 for stage in run.stages if stage.history),
        devices=device_table(run),
        energy=run_energy_table(run),
        inference=inference_table(run),
        layers=layers[:MOST_LAYERS],
        layers_hidden=max(0, len(layers) - MOST_LAYERS),
        filters_note=filters_note,
        layer_tiles=_layer_tiles(run, layers),
        data_tables=data_tables(run),
        notes=run.notes,
        environment=run.environment,
        recipe=run.recipe,
    )


def _cross_validation_page(record: CrossValidationRecord) -> str:
    figures = cross_validation_figures(record)
    links = [
        (
            f"./{quote(run.folder)}/report.html",
            run.fold,
            run.seed,
            (record.folder / run.folder / "report.html").exists(),
        )
        for run in record.summary.runs
    ]
    took = record.summary.seconds
    return html_page(
        "cross_validation.html",
        figures.all(),
        title=record.summary.title,
        name=record.summary.name,
        facts=[
            f"{len(record.summary.runs)} runs",
            *([f"took {seconds_text(took)}"] if took is not None else []),
        ],
        synthetic=SYNTHETIC if record.synthetic else "",
        headline=cross_validation_headline(record),
        table=cross_validation_table(record),
        energy=cross_validation_energy_table(record),
        figures=figures,
        links=links,
        notes=record.notes,
        environment=record.environment,
        recipe=record.recipe,
    )
