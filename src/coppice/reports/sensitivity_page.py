"""What a sensitivity study leaves for people: one HTML page, and figures for a paper."""

from pathlib import Path

from coppice.core.files import write_text
from coppice.core.units import change_text, percent_text
from coppice.reports.figure import Figure, as_figure, write_figures
from coppice.reports.headline import Headline
from coppice.reports.html import html_page
from coppice.reports.markdown import SYNTHETIC
from coppice.reports.sensitivity_figure import MEASURES, sensitivity_against, sensitivity_chart
from coppice.reports.sensitivity_records import GroupPoints, Point, Sensitivity, read_sensitivity
from coppice.reports.stage_table import Cell, Row, Table
from coppice.reports.wording import (
    number_interval_text,
    percent_interval_text,
    plural,
    points_interval_text,
    points_text,
    signed_interval_text,
    signed_text,
)

COLUMNS = (
    "Filters removed",
    "Agreement",
    "Accuracy",
    "Change (points)",
    "Macro accuracy",
    "Log-loss",
    "Change",
    "Parameters",
    "MACs",
)


def write_sensitivity_page(folder: Path) -> Path:
    """Write ``sensitivity.html`` and the figures (SVG) of a study into its folder.

    Parameters
    ----------
    folder : Path
        With the ``sensitivity.json`` of a study; only this file is read.

    Returns
    -------
    Path
        The page: one file, readable offline, on a phone and on paper.

    Raises
    ------
    CoppiceError
        If there is no such study or the disk refuses.
    """
    study = read_sensitivity(folder / "sensitivity.json")
    fixed = (as_figure(f"sensitivity-{m.field}", sensitivity_against(study, m)) for m in MEASURES)
    write_figures([figure for figure in fixed if figure is not None], folder / "figures", ("svg",))
    path = folder / "sensitivity.html"
    write_text(path, _page(study, as_figure("sensitivity", sensitivity_chart(study))))
    return path


def _page(study: Sensitivity, chart: Figure | None) -> str:
    clips = study.clips
    looked = f", which looked at {plural(study.looked_at, 'training clip')}" if study.looked_at else ""
    return html_page(
        "sensitivity.html",
        () if chart is None else (chart,),
        title="What each group of layers can lose",
        name=clips.name,
        headline=_headline(study),
        facts=[
            f"filters ranked by {study.criterion}{looked}",
            f"{plural(clips.clips, 'validation clip')} of {plural(clips.recordings, 'recording')}",
            f"seed {study.seed}",
            "nothing was fine-tuned",
        ],
        synthetic=SYNTHETIC if clips.synthetic else "",
        notes=(),
        chart=chart,
        table=_table(study),
        left_out=study.left_out,
        environment=study.environment,
    )


def _headline(study: Sensitivity) -> Headline:
    ratio = max((point.ratio for group in study.cut for point in group.measured), default=None)
    if ratio is None:
        return Headline("No group could be cut at these ratios, so nothing is said about any.", (), ())
    at_ratio = {
        group.title: point.scores.agreement
        for group in study.cut
        for point in group.measured
        if point.ratio == ratio and point.scores is not None
    }
    worst, best = min(at_ratio, key=lambda name: at_ratio[name]), max(at_ratio, key=lambda name: at_ratio[name])
    cut = f"With {100 * ratio:g} % of its filters removed and nothing else cut,"
    if worst == best:
        sentence = f"{cut} {worst} leaves {percent_text(at_ratio[worst])} of the labels as they were."
    else:
        sentence = (
            f"{cut} {worst} costs most: {percent_text(at_ratio[worst])} of the clips keep their label. "
            f"{best} costs least: {percent_text(at_ratio[best])} keep it."
        )
    remarks = [
        "Each group was cut alone: what several lose together is not the sum. Fine-tuning gives some of it back, and "
        "not to every group the same share.",
        "Validation clips, on which training also chose its epoch; the test clips played no part.",
    ]
    return Headline(sentence, tuple(remarks), ())


def _table(study: Sensitivity) -> Table:
    before = study.unpruned
    rows = [
        Row(
            "unpruned",
            (
                Cell("0"),
                Cell("100.0 %"),
                Cell(percent_text(before.accuracy), percent_interval_text(before.accuracy_interval)),
                Cell("–"),
                Cell(percent_text(before.macro_accuracy), percent_interval_text(before.macro_accuracy_interval)),
                Cell(f"{before.log_loss:.3f}", number_interval_text(before.log_loss_interval)),
                Cell("–"),
                Cell(f"{study.params_total:,}"),
                Cell(f"{study.macs:,}"),
            ),
            headline=True,
        )
    ]
    rows += [_row(study, group, point) for group in study.cut for point in group.measured]
    notes = tuple(f"{name}: {text}." for name, text in study.conventions.items())
    return Table(COLUMNS, tuple(rows), notes)


def _row(study: Sensitivity, group: GroupPoints, point: Point) -> Row:
    scores = point.scores
    assert scores is not None and point.params_total is not None and point.macs is not None
    cells = (
        Cell(f"{point.removed} of {group.filters}", f"{100 * point.ratio:g} % asked"),
        Cell(percent_text(scores.agreement), percent_interval_text(scores.agreement_interval)),
        Cell(percent_text(scores.accuracy), percent_interval_text(scores.accuracy_interval)),
        Cell(points_text(scores.accuracy_change), points_interval_text(scores.accuracy_change_interval)),
        Cell(percent_text(scores.macro_accuracy), percent_interval_text(scores.macro_accuracy_interval)),
        Cell(f"{scores.log_loss:.3f}", number_interval_text(scores.log_loss_interval)),
        Cell(signed_text(scores.log_loss_change), signed_interval_text(scores.log_loss_change_interval, 2)),
        Cell(f"{point.params_total:,}", change_text(study.params_total, point.params_total)),
        Cell(f"{point.macs:,}", change_text(study.macs, point.macs)),
    )
    return Row(", ".join((group.name, *group.coupled)), cells)
