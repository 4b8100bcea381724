import numpy as np
import pytest

from coppice.evaluation.bootstrap import grouped_resamples, interval


def test_draws_are_the_same_each_time_and_others_for_another_seed():
    groups = [f"r{n // 3}" for n in range(30)]
    first, second, other = (grouped_resamples(groups, resamples=20, seed=seed) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_recordings_are_drawn_whole_and_as_many_as_there_are():
    groups = np.array(["a", "a", "a", "b", "c", "c"])
    for draw in grouped_resamples(groups.tolist(), resamples=50):
        drawn = {name: np.bincount(draw, minlength=6)[groups == name] for name in "abc"}
        assert all(len(set(counts)) == 1 for counts in drawn.values())
        assert sum(counts[0] for counts in drawn.values()) == 3


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    covered = 0
    for trial in range(100):
        values = np.random.default_rng(trial).random(40)
        draws = grouped_resamples([str(n) for n in range(40)], resamples=200, seed=trial)
        low, high = interval(lambda drawn, values=values: float(values[drawn].mean()), draws)
        covered += low <= 0.5 <= high
    assert 88 <= covered <= 99


def test_clips_of_one_recording_widen_the_interval():
    """Ten recordings of ten clips that rise and fall together say as much as ten clips do."""
    values = np.repeat(np.random.default_rng(0).random(10), 10)

    def width(groups):
        low, high = interval(lambda drawn: float(values[drawn].mean()), grouped_resamples(groups, resamples=300))
        return high - low

    together, apart = width([str(n // 10) for n in range(100)]), width([str(n) for n in range(100)])
    assert 2.2 < together / apart < 4.5  # √10 in theory
    spread = np.random.default_rng(0).random(10).std() / np.sqrt(10)
    assert 0.8 < together / (2 * 1.96 * spread) < 1.2


def test_an_interval_is_that_of_numpys_percentiles():
    draws = [np.array([n]) for n in range(101)]
    assert interval(lambda drawn: float(drawn[0]), draws, level=0.9) == pytest.approx((5.0, 95.0))
