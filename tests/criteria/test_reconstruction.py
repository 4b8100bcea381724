"""Backward elimination against direct inverses, and what it must do with duplicates."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coppice.core.errors import CoppiceError
from coppice.criteria.evidence import Evidence
from coppice.criteria.reconstruction import RIDGE
from coppice.criteria.registry import needs_clips, rank


def problem(filters, taps, seed, outputs=3):
    random = np.random.default_rng(seed)
    rows = random.normal(size=(200, filters * taps)) @ random.normal(size=(filters * taps, filters * taps))
    gram = (rows.T @ rows).reshape(filters, taps, filters, taps)
    return gram, random.normal(size=(filters, taps, outputs))


def ranked(gram, weights):
    evidence = Evidence(read_gram=torch.from_numpy(gram), read_weights=torch.from_numpy(weights))
    return rank(torch.zeros(len(weights), 1), "reconstruction", evidence=evidence)


def loss(gram, weights, gone):
    """Half of the least squared distance to what all filters made, without those that are gone."""
    filters, taps, outputs = weights.shape
    whole = gram.reshape(filters * taps, -1)
    held = whole + RIDGE * np.trace(whole) / len(whole) * np.eye(len(whole))
    lost = np.concatenate([np.arange(taps) + index * taps for index in gone])
    flat = weights.reshape(-1, outputs)[lost]
    return float((flat * np.linalg.solve(np.linalg.inv(held)[np.ix_(lost, lost)], flat)).sum() / 2)


@pytest.mark.parametrize(("filters", "taps"), [(6, 1), (5, 4), (9, 9)])
def test_each_removal_is_the_one_after_which_least_is_lost(filters, taps):
    gram, weights = problem(filters, taps, seed=filters)
    found = ranked(gram, weights)
    gone, before = [], 0.0
    for index in found.order:
        left = [other for other in range(filters) if other not in gone]
        losses = {other: loss(gram, weights, [*gone, other]) for other in left}
        assert index == min(losses, key=losses.get)
        assert found.scores[index] == pytest.approx(losses[index] - before, rel=1e-6)
        gone, before = [*gone, index], losses[index]


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 1000), filters=st.integers(1, 8), taps=st.integers(1, 4))
def test_the_order_follows_the_filters_when_these_change_places(seed, filters, taps):
    gram, weights = problem(filters, taps, seed)
    places = np.random.default_rng(seed).permutation(filters)
    moved = ranked(gram[places][:, :, places], weights[places])
    assert [int(places[index]) for index in moved.order] == list(ranked(gram, weights).order)


def test_of_filters_that_can_stand_in_for_each_other_all_but_one_go_before_any_other():
    random = np.random.default_rng(0)
    signals = random.normal(size=(300, 6))
    signals[:, [1, 4]] = signals[:, [2]] * [3.0, -0.5]
    gram = (signals.T @ signals)[:, None, :, None]
    order = ranked(gram, random.normal(size=(6, 1, 4)) + 2.0).order
    assert len(set(order[:2]) & {1, 2, 4}) == 2


def test_nothing_but_zeros_can_still_be_ranked():
    found = ranked(np.zeros((3, 2, 3, 2)), np.zeros((3, 2, 1)))
    assert found.order == (0, 1, 2) and found.scores == (0.0, 0.0, 0.0)


def test_it_looks_at_clips_and_says_so():
    assert needs_clips("reconstruction")
    with pytest.raises(CoppiceError, match=r"criterion 'reconstruction' needs clips to look at: give clips"):
        rank(torch.zeros(3, 1), "reconstruction")
