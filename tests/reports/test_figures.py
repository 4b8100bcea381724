import json
import xml.etree.ElementTree as ElementTree

import altair as alt
import pytest
from jsonschema import ValidationError

from coppice.core.errors import CoppiceError
from coppice.reports.class_figures import confusion_matrix
from coppice.reports.cost_figures import run_points
from coppice.reports.cross_validation_records import read_cross_validation
from coppice.reports.figures import cross_validation_figures, run_figures
from coppice.reports.layer_filters import filters_of_run
from coppice.reports.report import figure_files
from coppice.reports.run_records import read_run
from coppice.reports.training_figures import _ticks, best_epoch, shared_range


@pytest.fixture(scope="module")
def svgs(whole_run, tmp_path_factory):
    return figure_files(whole_run, tmp_path_factory.mktemp("figures"), formats=("svg",))


@pytest.mark.proof
def test_each_chart_of_the_report_is_a_file_and_each_cost_has_its_own(svgs):
    names = {path.stem for path in svgs}
    costs = {f"accuracy-against-{cost}" for cost in ("params", "macs", "bytes", "latency")}
    layers = {f"{kind}-conv{number}" for kind in ("nearest", "similarity") for number in (1, 2, 3)}
    assert costs | layers | {"class-changes", "training-train", "confusion-train"} <= names
    assert "accuracy-against-cost" not in names


@pytest.mark.proof
def test_every_chart_obeys_the_schema_of_vega_lite(whole_run, make_cross_validation):
    run = read_run(whole_run)
    drawn = (
        run_figures(run, filters_of_run(run)[0]),
        cross_validation_figures(read_cross_validation(make_cross_validation())),
    )
    charts = [figure for figures in drawn for figure in figures.all()]
    assert len(charts) > 10
    for chart in charts:
        alt.Chart.from_dict(chart.spec)
    with pytest.raises(ValidationError):
        alt.Chart.from_dict(charts[0].spec | {"height": "tall"})


def test_svg_files_are_whole_and_drawn_in_the_light_palette(svgs):
    for path in svgs:
        root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
        assert root.tag.endswith("svg") and float(root.attrib["width"]) > 300
        assert "#ffffff" in path.read_text(encoding="utf-8")


def test_the_static_chart_shows_every_stage_with_its_interval(whole_run, svgs):
    chart = next(path for path in svgs if path.stem == "accuracy-against-macs").read_text(encoding="utf-8")
    assert chart.count('aria-roledescription="point"') == len(run_points(read_run(whole_run))) == 11


def test_png_and_pdf_files_are_what_they_say(make_cross_validation, tmp_path):
    written = figure_files(make_cross_validation(), tmp_path / "out", formats=("png", "pdf"))
    starts = {"png": b"\x89PNG", "pdf": b"%PDF"}
    assert {path.stem for path in written} >= {"accuracy-per-fold", "accuracy-against-params"}
    assert all(path.read_bytes().startswith(starts[path.suffix[1:]]) for path in written)


def test_an_unknown_format_is_refused_by_name(whole_run, tmp_path):
    with pytest.raises(CoppiceError, match=r"cannot be written as 'svgg'. Did you mean 'svg'"):
        figure_files(whole_run, tmp_path, formats=("svgg",))


def test_the_kept_epoch_is_the_recorded_one_and_else_the_one_with_the_lowest_loss(make_run):
    run = make_run(systems=["l1"])
    stage = read_run(run).unpruned
    losses = {epoch.epoch: epoch.validation_log_loss for epoch in stage.history}
    assert best_epoch(stage) == min(losses, key=losses.get)
    metrics = json.loads((run / "train" / "metrics.json").read_text())
    metrics["training"]["best_epoch"] = 7
    (run / "train" / "metrics.json").write_text(json.dumps(metrics))
    assert best_epoch(read_run(run).unpruned) == 7


def test_a_diverged_first_epoch_does_not_flatten_the_curves(make_run):
    run = make_run(systems=[])
    lines = (run / "train" / "history.csv").read_text().splitlines()
    lines[1] = "1,900.0,1200.0,0.1,0.001,1.5"
    (run / "train" / "history.csv").write_text("\n".join(lines))
    assert shared_range([read_run(run).unpruned])[1] < 4


def test_a_confusion_matrix_that_does_not_fit_its_labels_is_not_drawn(whole_run):
    test = read_run(whole_run).unpruned.test
    assert confusion_matrix(test, "x") is not None
    assert confusion_matrix(test.model_copy(update={"labels": ("a", "b")}), "x") is None


@pytest.mark.parametrize(("first", "last"), [(0, 0), (0, 2), (1, 24), (0, 199), (1, 40), (0, 7000)])
def test_epochs_are_labelled_with_a_few_different_whole_numbers(first, last):
    ticks = _ticks(first, last)
    assert 1 <= len(ticks) <= 8 and len(set(ticks)) == len(ticks)
    assert all(first <= tick <= last for tick in ticks)
