import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coppice.reports.paired_change import paired_change
from coppice.reports.run_records import Prediction


def predictions(right, probabilities=None):
    chances = probabilities if probabilities is not None else [None] * len(right)
    return [
        Prediction(clip_id=str(i), label="a", predicted="a" if ok else "b", probability=p)
        for i, (ok, p) in enumerate(zip(right, chances, strict=True))
    ]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_the_change_is_the_difference_of_the_accuracies(pairs):
    before, after = ([pair[side] for pair in pairs] for side in (0, 1))
    change = paired_change(predictions(before), predictions(after), {})
    assert change.accuracy_change == pytest.approx(np.mean(after) - np.mean(before), abs=1e-12)
    assert change.gained - change.lost == sum(after) - sum(before)
    assert change.accuracy_interval[0] <= change.accuracy_interval[1]


def test_the_interval_agrees_with_a_plain_bootstrap_over_recordings():
    random = np.random.default_rng(0)
    right = random.random((2, 120)) < 0.8
    groups = {str(i): f"recording {i // 4}" for i in range(120)}
    change = paired_change(predictions(right[0]), predictions(right[1]), groups)
    difference = (right[1].astype(float) - right[0]).reshape(30, 4).mean(axis=1)  # equally long recordings
    means = [difference[random.integers(30, size=30)].mean() for _ in range(20_000)]
    assert change.accuracy_interval == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.015)
    assert change.recordings == 30


def test_the_change_of_log_loss_is_paired_too():
    before, after = [0.5, 0.25, 1.0], [0.25, 0.5, 0.0]
    change = paired_change(predictions([True] * 3, before), predictions([True] * 3, after), {})
    expected = np.mean(np.log(before) - np.log([0.25, 0.5, 1e-15]))
    assert change.log_loss_change == pytest.approx(expected)


def test_different_clips_cannot_be_paired():
    assert paired_change(predictions([True] * 3), predictions([True] * 2), {}) is None
    assert paired_change([], [], {}) is None
