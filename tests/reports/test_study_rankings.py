import csv

import pytest

from coppice.core.errors import CoppiceError
from coppice.reports import study_page
from coppice.reports.study_page import write_study_page
from coppice.reports.study_rankings import ranking_figure, ranking_rows, read_rankings
from coppice.reports.study_records import read_study
from made_study import made_rows, write_study

AXES = {"criterion": ("l1", "exact", "m=4")}
ERRORS = {"exact": (0.0, 1e-15), "m=4": (1.5, 2.5)}


def write_layers(folder, rows, **changed):
    layers = []
    for row in rows:
        if row["axis.criterion"] in ERRORS:
            for number, layer in enumerate(("conv1", "conv2")):
                error = ERRORS[row["axis.criterion"]][number] + 0.25 * (
                    row["seed"] if row["axis.criterion"] == "m=4" else 0
                )
                layers.append(
                    {
                        "run": row["run"],
                        "point": row["point"],
                        "fold": row["fold"],
                        "seed": row["seed"],
                        "stage": "1-prune",
                        "layer": layer,
                        "filters": 16,
                        "kept": 8,
                        "ranking_ms": 0.5 + row["seed"],
                        "similarity_error": error,
                        "kept_as_exact": 1 - error / 10,
                        "smallest_m": ("" if number else 5 + row["seed"]),
                    }
                    | changed
                )
    with (folder / "rankings.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(layers[0]))
        writer.writeheader()
        writer.writerows(layers)


@pytest.fixture
def made(tmp_path):
    rows = made_rows(AXES, folds=(1,))
    write_study(tmp_path, AXES, rows)
    write_layers(tmp_path, rows)
    return tmp_path, rows


def test_each_layer_of_each_point_has_means_over_runs_and_ranges(made):
    folder, _ = made
    exact, _, first, second = ranking_rows(read_rankings(read_study(folder)))
    assert (exact.point, exact.layer, exact.error, exact.as_exact) == ("criterion exact", "conv1", "0", "100.0 %")
    assert (first.point, first.layer, first.kept, first.time) == ("criterion m=4", "conv1", "8 of 16", "1.00 ms")
    assert (first.error, first.as_exact, first.smallest) == ("1.62", "83.7 %", "5–6")
    assert (second.layer, second.error, second.smallest) == ("conv2", "2.62", "none")


def test_the_chart_has_the_range_of_every_criterion_and_layer_in_the_order_of_the_axis(made):
    folder, _ = made
    record = read_study(folder)
    spec = ranking_figure(read_rankings(record), record.axes["criterion"]).spec
    found = {(row["value"], row["group"]): (row["low"], row["mean"], row["high"]) for row in spec["data"]["values"]}
    assert found["m=4", "conv2"] == (2.5, 2.625, 2.75)
    assert found["exact", "conv2"][1] == 0
    assert spec["layer"][0]["encoding"]["y"]["sort"] == ["exact", "m=4"]


def test_the_page_has_the_section_only_where_similarities_decided(made, monkeypatch):
    monkeypatch.setattr(study_page, "MOST_PDF", 0)
    folder, rows = made
    text = write_study_page(folder).read_text()
    assert 'id="rankings"' in text
    assert '"similarity-error"' in text
    for row in rows:  # runs that are not in the study as it is now
        row["run"] = f"runs/other-{row['run'].removeprefix('runs/')}"
    write_study(folder, AXES, rows)
    assert 'id="rankings"' not in write_study_page(folder).read_text()
    (folder / "rankings.csv").unlink()
    assert 'id="rankings"' not in write_study_page(folder).read_text()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: text.replace("layer", "lair", 1), "it has no column 'layer'"),
        (lambda text: text + "1,2\n", "its rows have different lengths"),
        (lambda text: text.replace("0.5,1.5", "0.5,much"), "similarity_error is not all numbers"),
        (lambda text: "", "it has no column 'run'"),
    ],
)
def test_a_damaged_table_is_refused_in_a_sentence(made, spoil, said):
    folder, _ = made
    path = folder / "rankings.csv"
    path.write_text(spoil(path.read_text()))
    with pytest.raises(CoppiceError) as refused:
        read_rankings(read_study(folder))
    assert str(refused.value) == f"{path} is damaged: {said}; coppice study run writes it again."
