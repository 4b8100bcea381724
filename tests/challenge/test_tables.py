import csv
import io

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score
from sklearn.metrics import log_loss as sklearn_log_loss

from coppice.challenge.results import development_results
from coppice.challenge.rules import DEVICES, SCENES
from coppice.challenge.tables import accuracy_tables, loss_table
from coppice.core.errors import CoppiceError
from coppice.reproduction.dcase2022_scores import CLASSES, STARTS


@pytest.fixture(scope="module")
def scored():
    rng = np.random.default_rng(0)
    targets = np.repeat(np.arange(10), 27)
    return rng.dirichlet(np.full(10, 0.5), 270), targets, [DEVICES[row % 9] for row in range(270)]


def test_the_table_has_the_layout_of_the_2022_baseline(scored):
    table = loss_table(*scored, SCENES)
    assert table.columns == ("Scene label", "Log Loss", "A", "B", "C", "S1", "S2", "S3", "S4", "S5", "S6", "Accuracy")
    assert [row[0] for row in table.rows][-3:] == ["Street traffic", "Tram", "Average"]
    assert all(row[-1].endswith("%") for row in table.rows)


def test_the_cells_are_scikit_learns_log_losses(scored):
    posteriors, targets, devices = scored
    rows = loss_table(*scored, SCENES).rows
    for row, column, mask in (
        (3, 1, targets == 3),
        (7, 4, (targets == 7) & (np.array(devices) == "c")),
        (10, 6, np.array(devices) == "s2"),
        (10, 1, np.ones(270, dtype=bool)),
    ):
        expected = sklearn_log_loss(targets[mask], posteriors[mask], labels=range(10))
        assert rows[row][column] == f"{expected:.3f}"


def test_overall_scores_are_those_of_scikit_learn(scored):
    posteriors, targets, devices = scored
    found = development_results(posteriors, targets, devices)["overall"]
    assert found["accuracy"] == pytest.approx(
        100 * balanced_accuracy_score(targets, posteriors.argmax(axis=1)), abs=1e-4
    )
    assert found["logloss"] == pytest.approx(sklearn_log_loss(targets, posteriors), abs=1e-4)


def test_the_2024_tables_have_a_row_for_each_split(scored):
    classes, devices = accuracy_tables({"5%": scored, "100%": scored}, SCENES)
    assert classes.columns[:2] == ("Split", "Airport")
    assert classes.columns[4] == "Metro Station"
    assert devices.columns == ("Split", *(name.upper() for name in DEVICES), "Macro Average Accuracy")
    assert [row[0] for row in devices.rows] == ["5%", "100%"]
    assert classes.rows[0][-1] == devices.rows[0][-1]


def test_csv_and_latex_hold_the_same_cells_as_the_text(scored):
    table = loss_table(*scored, SCENES)
    cells = [list(table.columns), *map(list, table.rows)]
    assert list(csv.reader(io.StringIO(table.to_csv()))) == cells
    text = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.to_text().splitlines()]
    assert [text[0], *text[2:]] == cells
    latex = table.to_latex()
    assert latex.count(r"\\") == 12
    body = [line for line in latex.splitlines() if line.endswith(r" \\")]
    assert [line.removesuffix(r" \\").replace(r"\%", "%").split(" & ") for line in body] == cells


def test_latex_escapes_what_it_would_read_as_code():
    table = loss_table(np.array([[0.5, 0.5]]), np.array([0]), None, ["a$b", "50%&^~"])
    assert r"A\$b" in table.to_latex()
    assert r"50\%\&\textasciicircum{}\textasciitilde{}" in table.to_latex()
    with pytest.raises(CoppiceError, match="Did you mean 'latex'"):
        table.to_format("latec")


def test_results_without_a_clip_of_a_device_are_refused(scored):
    posteriors, targets, devices = scored
    with pytest.raises(CoppiceError, match="no development clip of device 's6'"):
        development_results(posteriors, targets, ["a" if device == "s6" else device for device in devices])


def test_published_posteriors_give_the_published_scores(shared_data):
    stored = np.load(shared_data / "surrey2022/C2/posteriors_int8_dynamic.npy", allow_pickle=False)
    targets = np.repeat(np.arange(10), np.diff(STARTS))
    rows = {row[0]: row for row in loss_table(stored, targets, None, CLASSES).rows}
    assert rows["Average"] == ("Average", "1.450", "46.6%")
    assert [rows[name][2] for name in ("Airport", "Bus", "Park")] == ["30.4%", "49.4%", "68.2%"]
