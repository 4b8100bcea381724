import base64
import gzip
import json
import re

import altair as alt
import pytest

from coppice.core.errors import CoppiceError
from coppice.reports import study_page
from coppice.reports.study_figures import study_figure_files, study_figures, whole_spec
from coppice.reports.study_front_figure import MOST_ON_PAPER, on_paper
from coppice.reports.study_page import write_study_page
from coppice.reports.study_records import read_study
from made_study import made_rows, write_study

AXES = {"criterion": ("random", "l1", "taylor"), "ratios": ("0.25", "0.5", "0.75")}
ODD = "l1 <b>&amp;\"</script>, of one's own"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A study with failed runs, one of another version, and a report; its folder and its page."""
    folder = tmp_path_factory.mktemp("study")
    rows = made_rows(AXES, failing=0.05)
    rows[0]["coppice_version"] = "0.0.1"
    write_study(folder, AXES, rows)
    (folder / rows[3]["run"]).mkdir(parents=True)
    (folder / rows[3]["run"] / "report.html").write_text("<p>a run")
    return folder, rows, write_study_page(folder).read_text()


def script(page, name):
    return json.loads(re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.S).group(1))


def body(page):
    return page[: page.index('id="charts"')]


def test_the_page_carries_the_results_whole_and_knows_which_runs_have_a_report(made):
    folder, rows, page = made
    data = script(page, "study")
    assert data["csv"] == (folder / "results.csv").read_bytes().decode()
    assert [number for number, sign in enumerate(data["reports"]) if sign == "1"] == [3]
    assert len(data["reports"]) == len(rows)


def test_the_page_asks_the_network_for_nothing(made):
    text = body(made[2])
    assert not re.search(r"""(?:src|href)=["'](?!#|\./)""", text)
    assert "default-src 'none'" in text


def test_a_point_that_is_called_unpruned_has_one_place_in_the_legend(tmp_path):
    axes = {"system": ("unpruned", "half")}
    figures = study_figures(read_study(write_study(tmp_path, axes, made_rows(axes))))
    specs = [json.dumps(figure.spec) for figure in figures.fronts.figures.values()]
    assert specs and all('"values": ["unpruned", "half"]' in spec for spec in specs)


def test_what_holds_of_all_scores_is_said_once_at_the_top(tmp_path):
    rows = made_rows(AXES, folds=(1,), seeds=(0,))
    page = body(write_study_page(write_study(tmp_path, AXES, rows)).read_text())
    top = page[: page.index('id="front"')]
    assert top.count("Nothing could be tested of criterion") == 1


def test_failed_runs_are_listed_with_their_reason_and_other_versions_named(made):
    _, rows, page = made
    text = body(page)
    failed = [row for row in rows if row["status"] == "failed"]
    assert failed
    listed = text[text.index('id="failed"') :]
    assert "the log-loss is &#34;nan&#34;, at epoch 3" in listed
    for row in failed:
        assert f"{row['point']}, fold {row['fold']}, seed {row['seed']}" in listed
    assert f"{len(failed)} of {len(rows)} runs failed" in text
    assert "1 run of 54 come from Coppice 0.0.1" in text


def test_each_choice_has_a_chart_and_its_table(made):
    page = made[2]
    data, charts = script(page, "study"), script(page, "charts")
    for name, figures in data["choosers"].items():
        assert set(figures.values()) <= set(charts)
        if name in ("front", "pairs"):
            listed = re.findall(rf'data-key="([\d,]+)" data-list="{name}"', page)
            assert listed == list(figures)
    assert data["choosers"]["front"]["1,1"] == "front-log_loss-macs"
    assert set(data["choosers"]) == {"front", "pairs", "along-ratios"}


def test_the_table_of_a_front_has_the_points_on_it_in_the_order_of_their_cost(made):
    folder, _, page = made
    figures = study_figures(read_study(folder))
    score, cost = figures.points.scores[0], figures.points.costs[1]
    table = re.search(r'data-key="0,1" data-list="front".*?</table>', page, re.S).group(0)
    rows = re.findall(r"<th scope=\"row\">(?:<a[^>]*>)?([^<]+)", table)
    assert rows == figures.points.on_front(score, cost)["point"].to_list()
    assert len(rows) > 1


def test_what_is_assumed_stands_on_the_page(made):
    text = re.sub(r"\s+", " ", body(made[2]))
    for said in ("Nadeau & Bengio 2003", "(1/n + 1/2) s²", "Holm&#39;s correction (1979)", "n − 1 degrees of freedom",
                 "about normal", "Choosing a point by this page means choosing it on test clips"):  # fmt: skip
        assert said.replace("&", "&amp;") in text or said in text


def test_names_are_text_not_markup(tmp_path):
    axes = {"criterion": ("random", ODD)}
    page = write_study_page(write_study(tmp_path, axes, made_rows(axes), title=ODD)).read_text()
    assert "<b>" not in body(page)
    assert page.count("</script>") == 7
    assert script(page, "datasets")["points"]["axis.criterion"][2] == ODD


def test_every_chart_is_what_vega_lite_takes(made):
    figures = study_figures(read_study(made[0]))
    for name in ("front-accuracy-macs", "along-ratios-all-accuracy", "pairs-criterion-ratios-0.25-log_loss"):
        figure = next(figure for figure in figures.all() if figure.name == name)
        spec = whole_spec(figure, figures, "paper")
        spec.pop("config")  # other tests draw with it
        alt.LayerChart.from_dict(spec)


@pytest.mark.parametrize(
    "axes",
    [
        {},
        {"keep": ("C1", "C1+C2"), "criterion": ("l1", "random"), "training": ("a b", "a/b")},
        {"fraction": ("0", "0.5", "1"), "system": ("l1", "random")},
        {"ratios": ("0.1", "0.5"), "layers": tuple(f"conv{number}" for number in range(9))},
        {"ratios": ("0.5",)},
    ],
)
def test_studies_of_other_axes_have_pages_too(tmp_path, monkeypatch, axes):
    monkeypatch.setattr(study_page, "MOST_PDF", 0)
    rows = made_rows(axes or {"ratios": ("0.5",)})
    if not axes:
        rows = [{name: cell for name, cell in row.items() if name != "axis.ratios"} for row in rows]
    page = write_study_page(write_study(tmp_path, axes, rows)).read_text()
    figures = study_figures(read_study(tmp_path))
    curved = {curve.along for group in figures.curved for curve in group}
    expected = {"ratios", "fraction", "keep", "layers"} & {name for name, values in axes.items() if len(values) > 1}
    assert curved == (expected - {"layers"} if "ratios" in expected else expected)
    names = [figure.name for figure in figures.all()]
    assert len(names) == len(set(names))
    assert ('id="pairs"' in page) == any(len(values) > 1 for values in axes.values())


def test_a_study_of_which_nothing_is_done_has_a_page(tmp_path):
    rows = [row | {"status": "waiting"} for row in made_rows(AXES)]
    text = write_study_page(write_study(tmp_path, AXES, rows)).read_text()
    assert "None of 54 runs is done yet" in text
    assert "so there is nothing to draw" in text


def test_the_curve_along_ratios_has_a_point_for_each_and_the_unpruned_network(made):
    figures = study_figures(read_study(made[0]))
    curve = figures.curved[0][0]
    assert (curve.along, curve.line, curve.numbers) == ("ratios", "criterion", (25.0, 50.0, 75.0))
    frame = figures.points.frame.set_index("point")
    assert {(p.line, p.x) for p in curve.points} == {(c, r) for c in AXES["criterion"] for r in AXES["ratios"]}
    for point in curve.points:
        own = frame.loc[f"criterion {point.line}, ratios {point.x}"]
        assert point.mean == pytest.approx(own["accuracy"])
        assert point.interval == pytest.approx((own["accuracy_low"], own["accuracy_high"]))
    assert curve.unpruned == pytest.approx(frame.loc["unpruned", "accuracy"])


FRACTIONS = {"system": ("cosine", "random weights"), "fraction": ("1", "0", "0.25", "0.5")}
FIT_MACS = 300_000_000_000


def spending(**left_out):
    """Runs on a fraction of the clips, with what each took: the smaller fractions for the more epochs."""
    rows = made_rows(FRACTIONS)
    for row in rows:
        share = float(row["axis.fraction"])
        epochs = (round(20 / share) + row["seed"] + 2 * row["fold"]) if share else 0
        row |= {"finetune_seconds": epochs * share, "finetune_epochs": epochs}
        row |= {"finetune_clips_seen": round(240 * share) * epochs, "finetune_macs": round(share * epochs * FIT_MACS)}
        for name in left_out:
            del row[name]
    return rows


def test_scores_stand_against_what_fine_tuning_took_joined_in_the_order_of_the_fraction(tmp_path):
    rows = spending()
    figures = study_figures(read_study(write_study(tmp_path, FRACTIONS, rows)))
    (chooser,) = figures.curves
    assert chooser.options[1] == ("fraction", "seconds", "clips seen", "MACs spent")
    assert chooser.figures[0, 3].name == "along-fraction-all-accuracy-finetune_macs"
    against = {curve.below: curve for curve in figures.curved[0] if curve.score.field == "accuracy"}
    for name, field in (("seconds", "finetune_seconds"), ("clips seen", "finetune_clips_seen")):
        for plain, point in zip(against["fraction"].points, against[name].points, strict=True):
            own = [row for row in rows if (row["axis.system"], row["axis.fraction"]) == (point.line, point.x)]
            assert point.spent == pytest.approx(sum(row[field] for row in own) / len(own))
            assert (point.mean, point.interval, point.runs) == (plain.mean, plain.interval, plain.runs)
    spec = chooser.figures[0, 3].spec
    assert spec["layer"][1]["encoding"]["x"]["title"] == "MACs spent in fine-tuning (TMACs)"
    drawn = spec["layer"][1]["data"]["values"]
    assert [row["along"] for row in drawn] == ["0", "0.25", "0.5", "1"]
    expected = [0.0] + [share * (round(20 / share) + 0.5 + 4) * FIT_MACS / 1e12 for share in (0.25, 0.5, 1)]
    assert [row["x"] for row in drawn] == pytest.approx(expected, rel=1e-5)
    assert spec["layer"][1]["layer"][0]["encoding"]["order"]["field"] == "place"
    alt.LayerChart.from_dict(spec)


@pytest.mark.parametrize(
    ("axis", "values", "kind"),
    [
        ("network.kernel", ("1", "3", "11"), "linear"),
        ("training.learning_rate", ("0.0001", "0.001", "0.01"), "log"),
        ("training.weight_decay", ("0", "0.001", "0.1"), "linear"),
    ],
)
def test_any_axis_of_three_numbers_has_a_curve_in_its_own_units(tmp_path, axis, values, kind):
    axes = {axis: values, "network.pooling": ("average", "max")}
    figures = study_figures(read_study(write_study(tmp_path, axes, made_rows(axes))))
    curve = next(curve for curve in figures.curved[0] if curve.score.field == "accuracy")
    assert (curve.along, curve.line, curve.title) == (axis, "network.pooling", axis)
    assert curve.numbers == tuple(map(float, values))
    chart = next(figure for figure in figures.all() if figure.name == f"along-{axis}-all-accuracy")
    x = chart.spec["layer"][1]["encoding"]["x"]
    assert (x["title"], x["scale"]["type"], x["axis"]["values"]) == (axis, kind, list(map(float, values)))
    alt.LayerChart.from_dict(chart.spec)


@pytest.mark.parametrize("measured", [True, False])
def test_the_legend_of_a_front_has_the_unpruned_network_where_it_was_measured(tmp_path, measured):
    rows = made_rows(AXES)
    if not measured:
        rows = [{key: "" if key.startswith("base_") else value for key, value in row.items()} for row in rows]
    figures = study_figures(read_study(write_study(tmp_path, AXES, rows)))
    chart = next(figure for figure in figures.all() if figure.name == "front-accuracy-macs")
    legend = chart.spec["layer"][0]["encoding"]["color"]["legend"]["values"]
    assert legend == [*(["unpruned"] if measured else []), *AXES["criterion"]]


@pytest.mark.parametrize("values", [("1", "3"), ("1", "3", "many")])
def test_two_numbers_and_words_have_no_curve(tmp_path, values):
    axes = {"network.kernel": values, "network.pooling": ("average", "max")}
    assert not study_figures(read_study(write_study(tmp_path, axes, made_rows(axes)))).curved


def test_results_from_before_macs_were_counted_stand_against_seconds_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(study_page, "MOST_PDF", 0)
    old = spending(finetune_epochs=0, finetune_clips_seen=0, finetune_macs=0)
    folder = write_study(tmp_path, FRACTIONS, old)
    (chooser,) = study_figures(read_study(folder)).curves
    assert chooser.options[1] == ("fraction", "seconds")
    assert "Against what fine-tuning took" in write_study_page(folder).read_text()
    some = spending()
    for row in some:
        if row["axis.system"] == "cosine":
            row["finetune_macs"] = ""
    figures = study_figures(read_study(write_study(tmp_path, FRACTIONS, some)))
    (curve,) = (one for one in figures.curved[0] if one.key.endswith("-all-accuracy-finetune_macs"))
    assert {point.line for point in curve.points} == {"random weights"}


def test_charts_that_are_met_first_come_as_pdf_within_the_page(made):
    pdfs = script(made[2], "study")["pdfs"]
    assert {"front-accuracy-params_total", "pairs-criterion-all-accuracy", "along-ratios-all-accuracy"} <= set(pdfs)
    assert gzip.decompress(base64.b64decode(pdfs["front-accuracy-params_total"])).startswith(b"%PDF")


def test_figures_for_a_paper_are_one_column_wide_and_in_its_face(tmp_path):
    axes = {"criterion": ("random", "l1")}
    folder = write_study(tmp_path / "study", axes, made_rows(axes))
    written = study_figure_files(folder, tmp_path / "figures", formats=("svg", "pdf"))
    assert len(written) == 2 * len(study_figures(read_study(folder)).all())
    for path in written:
        data = path.read_bytes()
        if path.suffix == ".pdf":
            assert data.startswith(b"%PDF")
        else:
            text = data.decode()
            assert "Times New Roman" in text
            assert float(re.search(r'<svg [^>]*width="([\d.]+)"', text).group(1)) <= 3.5 * 96
            assert "system-ui" not in text


def test_a_file_of_a_large_study_leaves_out_points_that_are_on_no_front_and_says_so(tmp_path):
    axes = {"criterion": tuple(f"c{number}" for number in range(250)), "ratios": ("0.25", "0.5")}
    figures = study_figures(read_study(write_study(tmp_path, axes, made_rows(axes, folds=(1,), seeds=(0,)))))
    drawn = on_paper(figures.rows, 0)
    front = set(figures.points.on_front(figures.points.scores[0], figures.points.costs[0])["point"])
    assert front | {"unpruned"} <= set(drawn["point"])
    assert len(drawn) == MOST_ON_PAPER + len(front | {"unpruned"})
    spec = whole_spec(figures.all()[0], figures, "page")
    assert spec["title"].startswith(f"{501 - len(drawn)} of 501 points not drawn")


def test_unknown_styles_and_formats_are_refused(made, tmp_path):
    with pytest.raises(CoppiceError, match="Did you mean 'paper'"):
        study_figure_files(made[0], tmp_path, style="papers")
    with pytest.raises(CoppiceError, match="'gif'"):
        study_figure_files(made[0], tmp_path, formats=["gif"])
