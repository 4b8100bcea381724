import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from coppice.evaluation.paired_test import corrected_t_test
from coppice.reports.study_measures import ACCURACY, LOG_LOSS
from coppice.reports.study_pairs import Comparison, Pair, compare, compared_axes, comparisons, p_text, verdict
from coppice.reports.study_points import Units, units_of
from coppice.reports.study_records import read_study
from made_study import made_rows, write_study

FOLDS = Units("fold", 5)


def table(values, **more):
    """Rows of runs: criterion → accuracy per fold, one seed."""
    return pd.DataFrame(
        [
            {"fold": str(fold), "seed": "0", "axis.criterion": name, "accuracy": accuracy, "log_loss": 1.0, **more}
            for name, scores in values.items()
            for fold, accuracy in enumerate(scores)
            if accuracy is not None
        ]
    )


def test_a_pair_worked_by_hand():
    # Differences 1, 2, 3, 4, 5 points: t = √8 with 4 degrees of freedom after the correction (see test_paired_test).
    rows = table({"l1": (0.81, 0.82, 0.83, 0.84, 0.85), "random": (0.8,) * 5})
    (pair,) = compare(rows, "criterion", {"criterion": ("l1", "random")}, ACCURACY, FOLDS).pairs
    assert (pair.first, pair.second, pair.runs, pair.test.n) == ("l1", "random", 5, 5)
    assert pair.test.mean == pytest.approx(0.03)
    assert pair.p_corrected == pair.test.p_value == pytest.approx(0.04742, abs=1e-5)
    assert pair.differ
    # With a third one that is as l1, there are three pairs: 3 · 0.0474 is above 5 %, and nothing is shown any more.
    rows = table({"l1": (0.81, 0.82, 0.83, 0.84, 0.85), "random": (0.8,) * 5, "l2": (0.8,) * 5})
    found = compare(rows, "criterion", {"criterion": ("l1", "random", "l2")}, ACCURACY, FOLDS)
    assert [round(pair.p_corrected, 4) for pair in found.pairs] == [0.1423, 0.1423, 1.0]
    assert verdict(found) == "No difference in accuracy is shown between any two values of criterion (3 pairs)."


def test_every_pair_is_the_mean_over_partners_within_a_fold(tmp_path):
    axes = {"criterion": ("random", "l1", "taylor"), "ratios": ("0.25", "0.75")}
    rows = made_rows(axes, folds=(1, 2, 3, 4), seeds=(0, 1, 2), failing=0.1)
    record = read_study(write_study(tmp_path, axes, rows))
    found = compare(record.done, "criterion", record.axes, LOG_LOSS, units_of(record))
    done = {(r["axis.criterion"], r["axis.ratios"], r["fold"], r["seed"]): r["log_loss"] for r in rows if "macs" in r}
    left_out = 0
    for pair in found.pairs:
        differences = {fold: [] for fold in (1, 2, 3, 4)}
        for ratio, fold, seed in itertools.product(axes["ratios"], (1, 2, 3, 4), (0, 1, 2)):
            both = [done.get((name, ratio, fold, seed)) for name in (pair.first, pair.second)]
            if None in both:
                left_out += 1
            else:
                differences[fold].append(both[0] - both[1])
        means = [np.mean(own) for own in differences.values()]
        statistic = np.mean(means) / np.sqrt((1 / 4 + 1 / 3) * np.var(means, ddof=1))
        assert pair.test.p_value == pytest.approx(2 * stats.t.sf(abs(statistic), 3), rel=1e-9)
        assert pair.runs == sum(map(len, differences.values()))
    assert left_out > 0  # a failed run takes its partner with it


def test_runs_without_a_partner_are_not_compared():
    rows = table({"l1": (0.8, 0.9, None, None, None), "random": (None, None, 0.1, 0.2, 0.3)})
    found = compare(rows, "criterion", {"criterion": ("l1", "random")}, ACCURACY, FOLDS)
    assert found.pairs[0].runs == 0
    assert found.tested == ()
    assert "Nothing could be tested" in verdict(found)


def test_more_seeds_on_the_same_folds_do_not_make_a_difference_more_certain():
    rows = table({"l1": (0.81, 0.82, 0.83, 0.84, 0.85), "random": (0.8,) * 5})
    more = pd.concat([rows, *(rows.assign(seed=str(seed)) for seed in (1, 2, 3))])
    axes = {"criterion": ("l1", "random")}
    once, often = (compare(each, "criterion", axes, ACCURACY, FOLDS).pairs[0] for each in (rows, more))
    assert often.test.p_value == pytest.approx(once.test.p_value)
    assert (once.runs, often.runs) == (5, 20)


def test_the_better_one_of_a_pair_has_the_higher_accuracy_or_the_lower_log_loss():
    test = corrected_t_test([0.2, 0.21, 0.22, 0.2, 0.2], overlap=0.25)
    for score, better in ((ACCURACY, "a is better than b"), (LOG_LOSS, "b is better than a")):
        pair = Pair("a", "b", test, 5, test.p_value)
        assert better in verdict(Comparison("criterion", None, score, (pair,)))


@pytest.mark.parametrize(
    ("behind", "said"),
    [
        ({"1": "3579"}, "by kernel: 1 is worse than 3, 5, 7 and 9; of the other pairs no difference is shown."),
        ({"9": "7", "1": "357"}, "by kernel: 1 is worse than 3, 5 and 7; 9 is worse than 7; of the other pairs no"),
        ({"1": "3", "3": "5", "5": "7", "7": "9"}, "4 of 10 pairs of kernel differ; of the others no difference is"),
    ],
)
def test_pairs_that_differ_are_told_by_what_is_behind_the_others(behind, said):
    sure = corrected_t_test([0.2, 0.21, 0.22, 0.2, 0.2], overlap=0.25)
    chance = corrected_t_test([0.2, -0.2, 0.1, 0.0, -0.1], overlap=0.25)
    pairs = tuple(
        Pair(b, a, sure, 5, sure.p_value) if b in behind.get(a, "") else Pair(a, b, chance, 5, 1.0)
        for a, b in itertools.permutations("13579", 2)
        if b in behind.get(a, "") or (a < b and a not in behind.get(b, ""))
    )
    assert len(pairs) == 10
    assert f"In accuracy, {said}" in verdict(Comparison("kernel", None, ACCURACY, pairs))


def test_each_ratio_is_also_compared_alone(tmp_path):
    axes = {"ratios": ("0.25", "0.75"), "criterion": ("random", "l1")}
    record = read_study(write_study(tmp_path, axes, made_rows(axes)))
    assert compared_axes(record) == ("criterion", "ratios")
    found = comparisons(record, units_of(record))
    places = [(each.axis, each.where, each.score.field) for each in found]
    wheres = [None, ("ratios", "0.25"), ("ratios", "0.75")]
    assert places[:6] == [("criterion", where, field) for where in wheres for field in ("accuracy", "log_loss")]
    assert places[6:] == [("ratios", None, "accuracy"), ("ratios", None, "log_loss")]
    alone = next(each for each in found if each.where == ("ratios", "0.75")).pairs[0]
    assert alone.runs == 3 * 2


def test_how_a_p_value_is_written():
    test = corrected_t_test([0.0, 0.0], overlap=0.0)
    texts = [p_text(Pair("a", "b", test, 2, p)) for p in (None, 0.0004, 0.0312, 0.5, 1.0)]
    assert texts == ["no test", "p < 0.001", "p = 0.031", "p = 0.50", "p = 1.00"]
