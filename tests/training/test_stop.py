"""A fit that stops when further MACs are not worth it: the estimate on curves of known slope, and inside a fit."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from coppice.core.errors import CoppiceError
from coppice.training import loop as loop_module
from coppice.training.callbacks import ResumePoint
from coppice.training.fit import fit
from coppice.training.settings import TrainingSettings
from coppice.training.stop import Stop, median_slope

EPOCH = 50_000_000_000  # MACs: a twentieth of 10^12


def stopped_after(losses, stop, macs=EPOCH):
    """The number of epochs after which a fit with this validation log-loss ends; None: never."""
    return next((n for n in range(1, len(losses) + 1) if stop.is_due(losses[:n], macs)), None)


@pytest.mark.parametrize("seed", range(5))
def test_the_slope_is_that_of_theil_and_sen(seed):
    values = np.random.default_rng(seed).normal(size=5 + seed)
    assert median_slope(values.tolist()) == pytest.approx(stats.theilslopes(values).slope, abs=1e-12)


@pytest.mark.parametrize("window", [3, 10, 20])
def test_a_line_has_its_slope_whatever_single_epochs_do(window):
    stop = Stop(0.01, window=window)
    line = 2 - 0.004 * np.arange(window + 5)
    assert stop.expected_gain(line.tolist(), EPOCH) == pytest.approx(20 * 0.004)
    if window >= 10:
        line[[-1, -4]] = 9.0, 0.0  # a step that went wrong, and a lucky one
        assert stop.expected_gain(line.tolist(), EPOCH) == pytest.approx(20 * 0.004, rel=0.35)


def test_there_is_no_estimate_before_the_window_is_full_nor_from_what_is_no_number():
    stop = Stop(0.01, window=4)
    assert stop.expected_gain([1.0, 0.9, 0.8], EPOCH) is None
    assert stop.expected_gain([1.0, 0.9, float("nan"), 0.8], EPOCH) is None
    assert stop.expected_gain([float("nan"), 1.0, 0.9, 0.8, 0.7], EPOCH) == pytest.approx(2.0)


@pytest.mark.parametrize("tau", [5, 20, 60])
@pytest.mark.parametrize("window", [5, 10])
@pytest.mark.parametrize("price", [0.02, 0.2])
def test_a_decaying_loss_is_left_where_its_slope_falls_below_the_price(tau, window, price):
    """The slope of c + exp(−t / τ) is −exp(−t / τ) / τ; the window sees slopes from its first epoch to its last."""
    losses = (0.5 + np.exp(-np.arange(600) / tau)).tolist()
    epochs = stopped_after(losses, Stop(price, window=window))
    gains = 20 * np.exp(-np.arange(600) / tau) / tau
    assert gains[epochs - 1] < price
    assert epochs == window or gains[epochs - 1 - window] >= price


@pytest.mark.parametrize("price", [0.02, 0.08])
def test_noisy_losses_are_left_about_where_the_price_is_met(price):
    random = np.random.default_rng(0)
    gains = 20 * np.exp(-np.arange(300) / 40) / 40
    ideal = int(np.argmax(gains < price))
    noisy = 0.5 + np.exp(-np.arange(300) / 40) + 0.04 * random.standard_normal((30, 300))
    noisy += (random.random((30, 300)) < 0.05) * random.exponential(0.5, (30, 300))  # steps that went wrong
    epochs = [stopped_after(losses.tolist(), Stop(price)) for losses in noisy]
    assert 0.7 * ideal < np.median(epochs) < 1.15 * ideal
    assert min(epochs) > 0.5 * ideal


def test_twice_the_macs_are_worth_twice_the_gain():
    losses = (0.5 + np.exp(-np.arange(300) / 20)).tolist()
    assert stopped_after(losses, Stop(0.1)) == stopped_after(losses, Stop(0.05), macs=2 * EPOCH)


def test_nothing_to_be_gained_ends_a_fit_at_any_price():
    rising = (1 + 0.001 * np.arange(30)).tolist()
    assert stopped_after(rising, Stop(0.0)) == stopped_after(rising, Stop(5.0)) == 20
    assert stopped_after([1.0] * 30, Stop(0.0)) is None  # neither rises nor falls


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"gain_per_tmac": -0.1}, r"stop.gain_per_tmac is -0.1; give nats of validation log-loss for 10\^12 MACs"),
        ({"gain_per_tmac": float("inf")}, "stop.gain_per_tmac is inf"),
        ({"gain_per_tmac": float("nan")}, "stop.gain_per_tmac is nan"),
        ({"gain_per_tmac": "much"}, "stop.gain_per_tmac is 'much'"),
        ({"gain_per_tmac": True}, "stop.gain_per_tmac is True"),
        ({"gain_per_tmac": 0.1, "window": 2}, "stop.window is 2; give a whole number of epochs from 3 upwards"),
        ({"gain_per_tmac": 0.1, "window": 9.5}, "stop.window is 9.5"),
    ],
)
def test_prices_that_cannot_be_are_refused_by_name(given, sentence):
    with pytest.raises(CoppiceError, match=sentence):
        Stop(**given)


def test_epochs_to_choose_from_must_be_left():
    with pytest.raises(CoppiceError, match=r"choose_from is 5 but stop.window is 5.*give a window of at least 6"):
        TrainingSettings(choose_from=5, stop=Stop(0.1, window=5))
    assert TrainingSettings(choose_from=5, stop=Stop(0.1, window=6)).to_dict()["stop"] == {
        "gain_per_tmac": 0.1,
        "window": 6,
    }


# Inside a fit: a convolution of 3 × 3 on 4 × 5 places, then a dense layer; 18 clips are learnt from, 7 only heard.
MACS = (3 * 18 + 7) * (9 * 3 * 20 + 3 * 20 * 3)
LONG = TrainingSettings(epochs=14, batch_size=8, learning_rate=0.02, patience=99, precision="float32", seed=1)
KINDS = {
    "plain": LONG,
    "with averages": replace(LONG, ema=0.5, soup=3),
    "cosine by accuracy": replace(LONG, schedule="cosine", choose="accuracy", choose_from=2),
}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(60, 3))


@pytest.fixture(scope="module")
def sides():
    generator = torch.Generator().manual_seed(0)

    def side(clips):
        targets = torch.arange(clips) % 3
        inputs = torch.randn(clips, 1, 4, 5, generator=generator)
        inputs[torch.arange(clips), 0, targets] += 1
        return inputs, targets

    return side(18), side(7)


@pytest.fixture(scope="module")
def priced(network, sides):
    """A fit that nothing stops; settings with a price at which it would end early, and when."""

    @cache
    def of(kind):
        whole = fit(network, *sides, settings=KINDS[kind])
        losses = [row["validation_log_loss"] for row in whole.history]
        gains = [-stats.theilslopes(losses[n - 4 : n]).slope * 1e12 / MACS for n in range(4, 13)]
        price = sorted(gain for gain in gains if gain > 0)[1]
        epochs = 4 + next(place for place, gain in enumerate(gains) if gain < price)
        return whole, replace(KINDS[kind], stop=Stop(price, window=4)), epochs

    return of


def rows(fitted):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in fitted.history]


@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_ends_at_its_price_with_the_best_of_the_epochs_it_had(network, sides, priced, kind):
    whole, settings, epochs = priced(kind)
    fitted = fit(network, *sides, settings=settings)
    assert fitted.epochs == epochs < whole.epochs == 14
    assert rows(fitted) == rows(whole)[:epochs]
    losses = [row["validation_log_loss"] for row in fitted.history]
    if kind == "plain":
        assert fitted.best_epoch == int(np.argmin(losses))
    if kind == "with averages":
        assert list(fitted.soup) == np.argsort(losses, kind="stable")[:3].tolist()
    assert "promised" in fitted.stopped or "no longer fell over 4 epochs" in fitted.stopped


def test_patience_that_ends_as_well_has_the_word(network, sides):
    train, (inputs, targets) = sides
    wrong = (inputs, (targets + 1) % 3)  # the more is learnt, the worse
    for patience, reason in ((2, "no better validation log-loss for 2 epochs"), (3, "no longer fell over 3 epochs")):
        fitted = fit(network, train, wrong, settings=replace(LONG, patience=patience, stop=Stop(0.0, window=3)))
        assert fitted.epochs == 3 and fitted.stopped.endswith(reason)


class Killed(Exception):
    pass


@pytest.mark.parametrize(("kind", "before_the_end"), [("plain", 0), ("with averages", 0), ("with averages", 2)])
def test_killed_and_resumed_it_ends_where_it_would_have(
    network, sides, priced, tmp_path, monkeypatch, kind, before_the_end
):
    _, settings, epochs = priced(kind)
    whole = fit(network, *sides, settings=settings)

    class Once(ResumePoint):
        died = False

        def __init__(self, path):
            super().__init__(path, every_s=0.0)

        def on_train_epoch_end(self, trainer, pl_module):
            super().on_train_epoch_end(trainer, pl_module)
            if trainer.current_epoch == epochs - 1 - before_the_end and not Once.died:
                Once.died = True
                raise Killed

    monkeypatch.setattr(loop_module, "ResumePoint", Once)
    with pytest.raises(Killed):
        fit(network, *sides, settings=settings, folder=tmp_path)
    again = fit(network, *sides, settings=settings, folder=tmp_path)
    assert again.epochs == epochs
    for name in ("best_epoch", "soup", "stopped"):
        assert getattr(again, name) == getattr(whole, name)
    assert rows(again) == rows(whole)
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, again.network.state_dict()[name]), name
