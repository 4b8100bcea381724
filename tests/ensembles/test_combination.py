import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import gmean

from coppice.core.errors import CoppiceError
from coppice.ensembles.average import average_posteriors
from coppice.ensembles.combination import Combination
from coppice.ensembles.fitting import fit_combination
from coppice.evaluation.metrics import log_loss


def test_equal_weights_are_the_plain_mean(drawn):
    members, _ = drawn()
    np.testing.assert_allclose(Combination.equal(4)(members), average_posteriors(list(members)), atol=1e-15)
    np.testing.assert_allclose(Combination.equal(4, [1, 3])(members), members[[1, 3]].mean(axis=0), atol=1e-15)


def test_the_geometric_mean_is_that_of_scipy_with_rows_that_sum_to_one(drawn):
    members, _ = drawn()
    weights = (0.1, 0.2, 0.3, 0.4)
    expected = gmean(members, axis=0, weights=np.array(weights)[:, None, None])
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(Combination(weights, how="geometric")(members), expected, rtol=1e-12)


@given(st.floats(0.2, 5), st.sampled_from(["arithmetic", "geometric"]), st.integers(0, 9))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_a_temperature_keeps_decisions_and_sums(temperature, how, seed):
    members = np.random.default_rng(seed).dirichlet(np.ones(4), (3, 50))
    plain, soft = (Combination((0.2, 0.3, 0.5), how=how, temperature=t)(members) for t in (1.0, temperature))
    assert (plain.argmax(axis=1) == soft.argmax(axis=1)).all()
    np.testing.assert_allclose(soft.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(soft, plain ** (1 / temperature) / (plain ** (1 / temperature)).sum(1)[:, None])


@pytest.mark.parametrize("how", ["arithmetic", "geometric"])
def test_fitted_weights_and_temperature_beat_every_grid_point(drawn, how):
    members, targets = drawn(members=3, clips=300)
    members = Combination((1.0,), temperature=1.7)(members.reshape(1, -1, 3)).reshape(members.shape)  # too careful
    found = fit_combination(members, targets, how=how, temperature=True, strength=0)
    best = log_loss(found(members), targets)
    steps = np.linspace(0, 1, 11)
    for first in steps:
        for second in steps[steps <= 1 - first + 1e-9]:
            for temperature in (0.4, 0.5, 0.6, 0.8, 1.0):
                rule = Combination((first, second, max(0.0, 1 - first - second)), how=how, temperature=temperature)
                assert best <= log_loss(rule(members), targets) + 1e-9
    assert found.temperature < 0.9


@pytest.mark.parametrize("how", ["arithmetic", "geometric"])
def test_the_gradient_is_that_of_the_loss(drawn, how):
    from coppice.ensembles.fitting import _Loss

    members, targets = drawn(members=3, clips=40)
    loss = _Loss(members, targets, how, strength=7.0, plain=False)
    weights, inverse, step = np.array([0.2, 0.5, 0.3]), 0.8, 1e-6
    _, by_weight, by_inverse = loss(weights, inverse)
    for index in range(3):
        moved = weights + step * np.eye(3)[index], weights - step * np.eye(3)[index]
        slope = (loss(moved[0], inverse)[0] - loss(moved[1], inverse)[0]) / (2 * step)
        np.testing.assert_allclose(by_weight[index], slope, atol=1e-6)
    slope = (loss(weights, inverse + step)[0] - loss(weights, inverse - step)[0]) / (2 * step)
    np.testing.assert_allclose(by_inverse, slope, atol=1e-6)


def test_few_clips_leave_the_weights_nearly_equal_and_many_move_them(drawn):
    few, many = drawn(clips=6), drawn(clips=3000)
    off_few = max(abs(weight - 0.25) for weight in fit_combination(*few).weights)
    off_many = max(abs(weight - 0.25) for weight in fit_combination(*many).weights)
    assert off_few < 0.06 < 0.1 < off_many
    far = fit_combination(*many, temperature=True, strength=1e9)
    np.testing.assert_allclose(far.weights, 0.25, atol=1e-4)
    assert far.temperature == pytest.approx(1, abs=1e-3)


def test_two_clips_do_not_make_a_temperature_extreme():
    members = np.tile([[0.6, 0.4]], (2, 1))[None].repeat(2, axis=0)
    for targets in ([0, 0], [1, 1]):
        assert 0.9 < fit_combination(members, np.array(targets), temperature=True).temperature < 1.1


def test_a_fit_is_the_same_each_time_and_in_any_order_of_members(drawn):
    members, targets = drawn()
    first = fit_combination(members, targets, temperature=True)
    assert fit_combination(members, targets, temperature=True) == first
    turned = fit_combination(members[::-1].copy(), targets, temperature=True)
    np.testing.assert_allclose(turned.weights[::-1], first.weights, atol=1e-5)


def test_equal_weights_and_no_temperature_is_nothing_to_fit(drawn):
    members, targets = drawn()
    assert fit_combination(members, targets, weights=False) == Combination.equal(4)


def test_hard_zeros_cost_34_nats_and_not_infinity():
    members, targets = np.array([[[1.0, 0.0]], [[1.0, 0.0]]]), np.array([1])
    for how in ("arithmetic", "geometric"):
        found = fit_combination(members, targets, how=how, temperature=True)
        assert np.isfinite(log_loss(found(members), targets))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Combination((0.5, 0.6)), "weights sum to 1.1"),
        (lambda: Combination((1.5, -0.5)), "one number from 0 to 1"),
        (lambda: Combination((float("nan"), 1.0)), "one number from 0 to 1"),
        (lambda: Combination(()), "one number from 0 to 1"),
        (lambda: Combination((1.0,), temperature=0), "temperature is 0"),
        (lambda: Combination((1.0,), how="geometrical"), "Did you mean 'geometric'"),
        (lambda: Combination((1.0,))(np.ones((2, 1, 2))), "2 members and 1 weights"),
        (lambda: fit_combination(np.ones((2, 0, 2)), np.array([], dtype=int)), "0 clips and 0 labels"),
        (lambda: fit_combination(np.ones((2, 1, 2)) / 2, np.array([2])), "labels run up to class 2"),
        (lambda: fit_combination(np.ones((2, 1, 2)) / 2, np.array([1]), strength=-1), "strength is -1"),
    ],
)
def test_what_cannot_be_is_refused_by_name(make, sentence):
    with pytest.raises(CoppiceError, match=sentence):
        make()
