"""The corrected resampled t-test and Holm's correction, against scipy, numbers worked by hand, and closed testing."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from coppice.evaluation.paired_test import corrected_t_test, holm, t_half_width


@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_without_overlap_it_is_the_paired_t_test(n):
    random = np.random.default_rng(n)
    before, after = random.normal(0.8, 0.05, n), random.normal(0.82, 0.05, n)
    ours, theirs = corrected_t_test(after - before, overlap=0.0), stats.ttest_rel(after, before)
    assert ours.p_value == pytest.approx(theirs.pvalue, rel=1e-10)
    assert ours.interval == pytest.approx(tuple(theirs.confidence_interval(0.95)), rel=1e-10)
    assert ours.n == n


def test_the_correction_is_that_of_nadeau_and_bengio():
    # By hand: mean 0.03, s² = 0.00025, variance of the mean (1/5 + 1/4) s² = 0.0001125, so t = 0.03 / 0.0106066 = √8.
    # With 4 degrees of freedom F(t) = 1/2 + 3/8 · t/√(1+t²/4) · (1 − t²/(1+t²/4)/12); at t² = 8 that is 0.976290.
    test = corrected_t_test([0.01, 0.02, 0.03, 0.04, 0.05], overlap=1 / 4)
    distribution = 0.5 + 3 / 8 * math.sqrt(8) / math.sqrt(3) * (1 - 8 / 3 / 12)
    assert test.p_value == pytest.approx(2 * (1 - distribution), rel=1e-9)
    assert test.p_value == pytest.approx(0.0474, abs=5e-5)
    quantile = 2.7764451  # of Student's t, 4 degrees of freedom, 97.5 %, from a printed table
    assert test.interval == pytest.approx((0.03 - quantile * 0.01060660, 0.03 + quantile * 0.01060660), abs=1e-7)


def test_a_test_that_takes_overlap_into_account_is_not_fooled_by_folds_that_share_their_training_clips():
    # Differences of folds with correlation 1/5, which is what the correction assumes, and a true difference of zero.
    random = np.random.default_rng(0)
    shared, own = random.normal(0, math.sqrt(0.2), (1500, 1)), random.normal(0, math.sqrt(0.8), (1500, 5))
    wrong = {
        overlap: np.mean([corrected_t_test(row, overlap=overlap).p_value < 0.05 for row in shared + own])
        for overlap in (0.0, 1 / 4)
    }
    assert wrong[0.0] > 0.10
    assert wrong[1 / 4] == pytest.approx(0.05, abs=0.015)


def test_the_interval_leaves_out_zero_exactly_when_the_p_value_is_below_five_percent():
    random = np.random.default_rng(1)
    for _ in range(200):
        test = corrected_t_test(random.normal(0.02, 0.02, 5), overlap=1 / 4)
        assert (test.p_value < 0.05) == (not test.interval[0] <= 0 <= test.interval[1])


def test_what_cannot_be_tested_has_no_p_value():
    assert corrected_t_test([], overlap=0.25).p_value is None
    assert corrected_t_test([0.1], overlap=0.25).interval is None
    assert corrected_t_test([0.1, 0.1, 0.1], overlap=0.25).p_value is None  # nothing is known of chance
    same = corrected_t_test([0.0, 0.0], overlap=0.25)
    assert (same.p_value, same.interval) == (1.0, (0.0, 0.0))


def test_half_widths_of_many_are_those_of_each():
    values = np.random.default_rng(2).normal(size=(7, 5))
    half = t_half_width(values.std(axis=1, ddof=1), np.full(7, 5), overlap=0.25)
    for row, width in zip(values, half, strict=True):
        low, high = corrected_t_test(row, overlap=0.25).interval
        assert width == pytest.approx((high - low) / 2, rel=1e-12)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_closed_testing_with_bonferroni(p_values):
    # Holm's corrected p of a test is the largest Bonferroni p of all sets of hypotheses that hold it.
    numbers = range(len(p_values))
    sets = [each for size in range(1, len(p_values) + 1) for each in itertools.combinations(numbers, size)]
    expected = [
        max(min(1.0, len(each) * min(p_values[i] for i in each)) for each in sets if number in each)
        for number in numbers
    ]
    assert holm(p_values) == pytest.approx(expected, rel=1e-12)


def test_holm_of_nothing_is_nothing():
    assert holm([]) == []
