import numpy as np
import pytest
from scipy import stats

from coppice.reports.study_measures import ACCURACY, COSTS, LOG_LOSS, SCORES
from coppice.reports.study_points import study_points, units_of
from coppice.reports.study_records import read_study
from made_study import made_rows, write_study

AXES = {"criterion": ("random", "l1"), "ratios": ("0.25", "0.5", "0.75")}
MACS = next(cost for cost in COSTS if cost.field == "macs")


@pytest.fixture
def points(tmp_path):
    def made(rows, axes=AXES):
        record = read_study(write_study(tmp_path, axes, rows))
        return study_points(record)

    return made


def test_a_point_is_the_mean_over_folds_of_means_over_seeds_with_the_corrected_interval(points):
    rows = made_rows(AXES, folds=(1, 2, 3, 4), seeds=(0, 1, 2))
    found = points(rows).frame.set_index("point")
    for name in {row["point"] for row in rows}:
        own = [row for row in rows if row["point"] == name]
        for field, value in (("log_loss", lambda row: row["log_loss"]),
                             ("accuracy_change", lambda row: row["accuracy"] - row["base_accuracy"])):  # fmt: skip
            folds = [np.mean([value(row) for row in own if row["fold"] == fold]) for fold in (1, 2, 3, 4)]
            half = stats.t.ppf(0.975, 3) * np.std(folds, ddof=1) * np.sqrt(1 / 4 + 1 / 3)
            assert found.loc[name, field] == pytest.approx(np.mean(folds), abs=1e-12)
            assert found.loc[name, f"{field}_low"] == pytest.approx(np.mean(folds) - half, abs=1e-12)
            assert found.loc[name, f"{field}_high"] == pytest.approx(np.mean(folds) + half, abs=1e-12)
        assert found.loc[name, "macs"] == own[0]["macs"]


def test_with_one_fold_seeds_are_what_is_averaged_and_no_overlap_is_corrected(points, tmp_path):
    rows = made_rows(AXES, folds=(1,), seeds=(0, 1, 2))
    found = points(rows)
    assert (found.units.column, found.units.count, found.units.overlap) == ("seed", 3, 0.0)
    own = [row["log_loss"] for row in rows if row["point"] == "criterion l1, ratios 0.5"]
    half = stats.t.ppf(0.975, 2) * np.std(own, ddof=1) / np.sqrt(3)
    assert found.frame.set_index("point").loc["criterion l1, ratios 0.5", "log_loss_high"] == pytest.approx(
        np.mean(own) + half
    )
    assert "nothing of other clips" in units_of(read_study(tmp_path)).sentence


def test_a_single_run_has_no_interval(points):
    found = points(made_rows(AXES, folds=(1,), seeds=(0,)))
    assert found.frame["accuracy_low"].isna().sum() == len(found.frame)


def test_the_unpruned_networks_are_a_point_of_their_own(points):
    rows = made_rows(AXES)
    own = points(rows).frame.iloc[0]
    base = {(row["fold"], row["seed"]): row["base_accuracy"] for row in rows}
    assert own["point"] == "unpruned"
    assert own["done"] == len(base) == 6
    assert own["accuracy"] == pytest.approx(np.mean(list(base.values())))
    assert own["macs"] == rows[0]["base_macs"]


def test_points_that_go_on_from_different_networks_have_no_common_unpruned_one(points):
    rows = made_rows(AXES)
    rows[0]["base_accuracy"] = 0.5
    found = points(rows)
    assert not found.frame["unpruned"].any()
    assert "different unpruned networks" in found.notes[0]


def test_a_point_that_lacks_a_fold_is_kept_but_on_no_front(points):
    rows = made_rows(AXES)
    for row in rows:
        if row["point"] == "criterion l1, ratios 0.75":
            row |= {"accuracy": 1.0, "log_loss": 0.0, "macs": 1}  # it would be the whole front
    assert points(rows).on_front(ACCURACY, MACS)["point"].to_list() == ["criterion l1, ratios 0.75"]
    failed = next(row for row in rows if row["point"] == "criterion l1, ratios 0.75")
    failed |= {"status": "failed", "reason": "no", "accuracy": ""}
    found = points(rows)
    row = found.frame.set_index("point").loc["criterion l1, ratios 0.75"]
    assert (row["done"], row["runs"], row["whole"], row["front"]) == (5, 6, False, 0)
    assert "criterion l1, ratios 0.75" not in found.on_front(LOG_LOSS, MACS)["point"].to_list()
    assert "1 point lacks runs" in found.notes[0]


def test_only_what_was_measured_can_be_chosen(points):
    rows = made_rows(AXES)
    assert [cost.field for cost in points(rows).costs] == ["params_total", "macs", "size_bytes", "latency_ms_p50"]
    for row in rows:
        row |= {"latency_ms_p50": "", "energy_kwh": 0.5, "base_accuracy": "", "base_log_loss": ""}
    found = points(rows)
    assert [cost.field for cost in found.costs] == ["params_total", "macs", "size_bytes", "energy_kwh"]
    assert found.scores == SCORES[:2]
    assert "not measured" in found.notes[0]


def test_nothing_done_is_no_reason_to_fail(points):
    rows = [row | {"status": "waiting"} for row in made_rows(AXES)]
    found = points(rows)
    assert (found.scores, found.costs) == ((), ())
    assert len(found.frame) == 6
