"""Optimizers, schedules, averages and choices of a fit, against NumPy in float64; all of them resume exactly."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from coppice.audio.front_end import front_end
from coppice.core.errors import CoppiceError
from coppice.training import loop as loop_module
from coppice.training.augment.augmenter import Augmenter
from coppice.training.augment.device_ir import DeviceCopies
from coppice.training.augment.settings import Augment, DeviceIR, FreqMixStyle, Gain, SpecAugment, TimeRoll
from coppice.training.averaging import remeasure_norms_
from coppice.training.callbacks import ResumePoint
from coppice.training.fit import fit
from coppice.training.schedule import rate_factor
from coppice.training.settings import TrainingSettings

CLIPS, CLASSES, MELS, FRAMES = 12, 3, 4, 5


@pytest.fixture(scope="module")
def sides():
    generator = torch.Generator().manual_seed(0)

    def side(clips):
        return torch.randn(clips, 1, MELS, FRAMES, generator=generator), torch.arange(clips) % CLASSES

    return side(CLIPS), side(6)


@pytest.fixture
def linear():
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(MELS * FRAMES, CLASSES))


@pytest.fixture
def normed():
    """A network with batch normalisation and dropout."""
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Flatten(),
        nn.LazyLinear(CLASSES),
    )


@pytest.fixture(autouse=True)
def built(normed):
    normed(torch.zeros(2, 1, MELS, FRAMES))
    normed[1].reset_running_stats()


def how(**changes):
    given = {"epochs": 5, "batch_size": CLIPS, "learning_rate": 0.02, "patience": 99, "precision": "float32"}
    return TrainingSettings(**{**given, "choose": "last", **changes})


def gradients(weight, bias, inputs, targets):
    flat = inputs.reshape(len(inputs), -1)
    logits = flat @ weight.T + bias
    soft = np.exp(logits - logits.max(1, keepdims=True))
    soft /= soft.sum(1, keepdims=True)
    soft[np.arange(len(targets)), targets] -= 1
    return soft.T @ flat / len(targets), soft.mean(0)


def reference(network, side, settings, *, warmup=0):
    """Adam or AdamW on one batch an epoch, with a schedule and a moving average."""
    inputs, targets = side[0].double().numpy(), side[1].numpy()
    values = [p.detach().double().numpy().copy() for p in network.parameters()]
    first, second = ([np.zeros_like(v) for v in values] for _ in range(2))
    average = None
    for step in range(settings.epochs):
        factor = 1.0
        if step < warmup:
            factor = step / warmup
        elif settings.schedule == "cosine":
            factor = 0.5 * (1 + math.cos(math.pi * (step - warmup) / (settings.epochs - warmup)))
        rate, decay = settings.learning_rate * factor, settings.weight_decay
        for k, gradient in enumerate(gradients(*values, inputs, targets)):
            if settings.optimizer == "adamw":
                values[k] = values[k] * (1 - rate * decay)
            else:
                gradient = gradient + decay * values[k]
            first[k] = 0.9 * first[k] + 0.1 * gradient
            second[k] = 0.999 * second[k] + 0.001 * gradient**2
            m, v = first[k] / (1 - 0.9 ** (step + 1)), second[k] / (1 - 0.999 ** (step + 1))
            values[k] = values[k] - rate * m / (np.sqrt(v) + 1e-8)
        if settings.ema:
            # The first step begins the average.
            kept = settings.ema if average is not None else 0.0
            average = [kept * a + (1 - kept) * v for a, v in zip(average or values, values, strict=True)]
    return average or values


@pytest.mark.parametrize(
    ("changes", "warmup"),
    [
        ({}, 0),
        ({"weight_decay": 0.1}, 0),
        ({"optimizer": "adamw", "weight_decay": 0.5}, 0),
        ({"schedule": "cosine"}, 0),
        ({"schedule": "cosine", "warmup_steps": 2}, 2),
        ({"warmup_epochs": 3}, 3),
        ({"ema": 0.6}, 0),
        ({"optimizer": "adamw", "weight_decay": 0.5, "schedule": "cosine", "warmup_epochs": 2, "ema": 0.9}, 2),
    ],
)
def test_the_weights_are_those_of_the_formulas(linear, sides, changes, warmup):
    settings = how(**changes)
    fitted = fit(linear, *sides, settings=settings).network
    for ours, expected in zip(fitted.parameters(), reference(linear, sides[0], settings, warmup=warmup), strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), expected, rtol=0, atol=2e-5)


def test_the_cosine_is_that_of_the_dcase_2024_baseline():
    """Values of transformers.get_cosine_schedule_with_warmup(…, 2000, 81900), by its formula."""
    for step in (0, 1, 1999, 2000, 40_000, 81_899):
        after = (step - 2000) / (81_900 - 2000)
        expected = step / 2000 if step < 2000 else max(0.0, 0.5 * (1 + math.cos(math.pi * 0.5 * 2 * after)))
        assert rate_factor(step, schedule="cosine", warmup=2000, total=81_900) == pytest.approx(expected, abs=1e-12)


def test_accumulated_batches_make_the_step_of_a_large_one(linear, sides):
    large = fit(linear, *sides, settings=how())
    small = fit(linear, *sides, settings=how(batch_size=CLIPS // 4, accumulate=4))
    for one, other in zip(large.network.parameters(), small.network.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_a_schedule_counts_optimizer_steps_not_batches(linear, sides):
    settings = how(batch_size=CLIPS // 4, accumulate=4, schedule="cosine", warmup_epochs=2)
    rates = [row["learning_rate"] for row in fit(linear, *sides, settings=settings).history]
    expected = [0.02 * rate_factor(step, schedule="cosine", warmup=2, total=5) for step in range(1, 6)]
    assert rates == pytest.approx(expected, abs=1e-9)


def test_a_warm_up_longer_than_the_fit_is_said(linear, sides, capsys):
    fit(linear, *sides, settings=how(warmup_steps=2000))
    assert "the warm-up takes 2000 steps but the whole fit 5" in capsys.readouterr().err


def epoch_weights(network, sides, settings, epoch):
    """The weights after an epoch, from a fit that ends there."""
    return fit(network, *sides, settings=replace(settings, epochs=epoch + 1, choose="last", soup=1)).network


def test_a_soup_is_the_mean_of_the_best_epochs_with_its_own_statistics(normed, sides):
    settings = how(epochs=6, batch_size=4, choose="log_loss", soup=3)
    fitted = fit(normed, *sides, settings=settings)
    losses = [row["validation_log_loss"] for row in fitted.history]
    assert list(fitted.soup) == np.argsort(losses, kind="stable")[:3].tolist() and fitted.best_epoch == fitted.soup[0]
    states = [epoch_weights(normed, sides, settings, epoch).state_dict() for epoch in fitted.soup]
    for name, tensor in fitted.network.named_parameters():
        expected = np.mean([state[name].double().numpy() for state in states], axis=0)
        np.testing.assert_allclose(tensor.detach().numpy(), expected, rtol=0, atol=1e-6)
    hidden = fitted.network[0](sides[0][0]).detach().double().numpy()
    np.testing.assert_allclose(fitted.network[1].running_mean, hidden.mean((0, 2, 3)), atol=1e-6)
    np.testing.assert_allclose(fitted.network[1].running_var, hidden.var((0, 2, 3), ddof=1), rtol=1e-5)
    assert not fitted.network.training and fitted.network[1].momentum == normed[1].momentum


def test_statistics_are_measured_in_batches_weighted_by_their_clips_and_frozen_ones_stay(normed):
    inputs = torch.randn(7, 1, MELS, FRAMES)
    normed[1].weight.requires_grad_(True)
    remeasure_norms_(normed, inputs, batch_size=3)
    hidden = normed[0](inputs).detach().double().numpy()
    parts = [hidden[:3], hidden[3:6], hidden[6:]]
    expected = sum(len(p) * p.var((0, 2, 3), ddof=1) for p in parts) / 7
    np.testing.assert_allclose(normed[1].running_mean, hidden.mean((0, 2, 3)), atol=1e-6)
    np.testing.assert_allclose(normed[1].running_var, expected, rtol=1e-5)
    normed[1].requires_grad_(False)
    before = normed[1].running_mean.clone()
    remeasure_norms_(normed, inputs + 5)
    assert torch.equal(normed[1].running_mean, before)


def test_the_moving_average_has_averaged_statistics_and_is_what_validation_hears(normed, sides):
    settings = how(batch_size=4, ema=0.5, choose="log_loss")
    fitted = fit(normed, *sides, settings=settings)
    with torch.no_grad():
        loss = nn.functional.cross_entropy(fitted.network(sides[1][0]).double(), sides[1][1])
    assert float(loss) == pytest.approx(fitted.history[fitted.best_epoch]["validation_log_loss"], rel=1e-5)
    without = fit(normed, *sides, settings=replace(settings, ema=0.0)).history
    assert [row["train_log_loss"] for row in without] == [row["train_log_loss"] for row in fitted.history]
    assert without[-1]["validation_log_loss"] != fitted.history[-1]["validation_log_loss"]
    assert (fitted.network[1].running_mean != 0).all()


@pytest.mark.parametrize(("choose", "start"), [("accuracy", 0), ("accuracy", 4), ("last", 0), ("log_loss", 3)])
def test_the_epoch_is_chosen_as_the_settings_say(normed, sides, choose, start):
    settings = how(epochs=8, batch_size=4, choose=choose, choose_from=start)
    fitted = fit(normed, *sides, settings=settings)
    column = {"accuracy": "validation_accuracy", "log_loss": "validation_log_loss", "last": "epoch"}[choose]
    values = [row[column] * (1 if choose == "log_loss" else -1) for row in fitted.history]
    assert fitted.best_epoch == start + int(np.argmin(values[start:])) and fitted.soup == ()
    expected = epoch_weights(normed, sides, replace(settings, choose_from=0), fitted.best_epoch)
    for name, tensor in expected.state_dict().items():
        assert torch.equal(tensor, fitted.network.state_dict()[name]), name


class Killed(Exception):
    pass


@pytest.fixture
def killed_after(monkeypatch):
    """Let the next fit leave a resume point after every epoch and die after one of them."""

    def after(epoch):
        class Once(ResumePoint):
            died = False

            def __init__(self, path):
                super().__init__(path, every_s=0.0)

            def on_train_epoch_end(self, trainer, pl_module):
                super().on_train_epoch_end(trainer, pl_module)
                if trainer.current_epoch == epoch and not Once.died:
                    Once.died = True
                    raise Killed

        monkeypatch.setattr(loop_module, "ResumePoint", Once)

    return after


EVERYTHING = {
    "optimizer": "adamw",
    "weight_decay": 0.01,
    "schedule": "cosine",
    "warmup_epochs": 1.5,
    "accumulate": 2,
    "ema": 0.7,
    "soup": 2,
    "mixup": 0.3,
    "batch_size": 4,
    "choose": "log_loss",
    "augment": Augment(DeviceIR("x", 0.5), Gain(3.0), TimeRoll(0.05), SpecAugment(1, 2, 1, 2), FreqMixStyle(0.5, 0.3)),
}


@pytest.fixture(scope="module")
def augmenter():
    ears = front_end(
        "logmel", sample_rate=8000, n_fft=256, win_length=200, hop_length=80, n_mels=MELS, fmin_hz=0, fmax_hz=4000,
        duration_s=0.05,
    )  # fmt: skip
    assert ears.shape == (MELS, FRAMES)
    copies = DeviceCopies(np.random.default_rng(0).normal(size=(8, MELS, FRAMES)).astype(np.float32), {0: 0, 5: 4}, 4)
    return Augmenter(EVERYTHING["augment"], ears, torch.zeros(MELS), torch.ones(MELS), copies, seed=0)


@pytest.mark.parametrize("epoch", [0, 3])
def test_with_everything_on_killed_and_resumed_equals_not_killed(
    normed, sides, augmenter, tmp_path, killed_after, epoch
):
    settings = how(**EVERYTHING)
    whole = fit(normed, *sides, settings=settings, augmenter=augmenter)
    killed_after(epoch)
    with pytest.raises(Killed):
        fit(normed, *sides, settings=settings, augmenter=augmenter, folder=tmp_path)
    again = fit(normed, *sides, settings=settings, augmenter=augmenter, folder=tmp_path)
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, again.network.state_dict()[name]), name
    assert [{k: v for k, v in row.items() if k != "seconds"} for row in whole.history] == [
        {k: v for k, v in row.items() if k != "seconds"} for row in again.history
    ]
    assert (whole.best_epoch, whole.soup, whole.stopped) == (again.best_epoch, again.soup, again.stopped)


def test_augmentation_changes_what_is_learnt_and_not_what_validation_hears(normed, sides, augmenter):
    alone, augmented = (fit(normed, *sides, settings=how(batch_size=4), augmenter=one) for one in (None, augmenter))
    assert not torch.equal(alone.network[0].weight, augmented.network[0].weight)
    with torch.no_grad():
        loss = nn.functional.cross_entropy(augmented.network(sides[1][0]).double(), sides[1][1])
    assert float(loss) == pytest.approx(augmented.history[-1]["validation_log_loss"], rel=1e-5)


def test_a_fit_that_stops_as_soon_as_it_may_has_an_epoch_to_choose(linear, sides):
    inputs, targets = sides[1]
    learnt_by_heart = (sides[0][0], sides[0][1]), (inputs, (targets + 1) % CLASSES)
    settings = how(epochs=60, choose="accuracy", choose_from=4, patience=4, learning_rate=0.3)
    fitted = fit(linear, *learnt_by_heart, settings=settings)
    assert fitted.epochs < 60 and fitted.best_epoch >= 4


def test_settings_with_augmentation_need_an_augmenter(linear, sides):
    with pytest.raises(CoppiceError, match="the settings have augment but fit got no augmenter"):
        fit(linear, *sides, settings=how(augment=Augment(gain=Gain(3.0))))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried 9e12 bytes."
        ),
    ],
)
def test_out_of_memory_names_the_batch_size(linear, sides, error):
    def full(module, given):
        raise error

    linear.register_forward_pre_hook(full)
    with pytest.raises(CoppiceError, match=r"training with batch_size 12; give a smaller batch_size, such as 6"):
        fit(linear, *sides, settings=how())


def test_an_error_that_is_not_about_memory_stays_what_it_is(linear, sides):
    def broken(module, given):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    linear.register_forward_pre_hook(broken)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        fit(linear, *sides, settings=how())


def test_a_loss_that_is_no_number_keeps_the_last_good_epoch_and_names_both(normed, sides, capsys):
    calls = []

    def poison(module, given):
        calls.append(1)
        if module.training and len(calls) > 9:  # two epochs of three steps and a validation are well
            with torch.no_grad():
                module[-1].bias.fill_(float("nan"))

    normed.register_forward_pre_hook(poison)
    fitted = fit(normed, *sides, settings=how(batch_size=4))
    assert fitted.stopped == "validation log-loss was not a number in epoch 2" and fitted.best_epoch == 1
    assert all(torch.isfinite(tensor).all() for tensor in fitted.network.state_dict().values())
    assert "not a number in epoch 2; the weights of epoch 1 are kept" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"optimizer": "sgd"}, "optimizer is 'sgd'; give one of adam, adamw"),
        ({"schedule": "linear"}, "schedule is 'linear'; give one of constant, cosine"),
        ({"choose": "loss"}, "choose is 'loss'; give one of log_loss, accuracy, last"),
        ({"ema": 1.0}, "ema is 1.0"),
        ({"weight_decay": -1}, "weight_decay is -1"),
        ({"warmup_epochs": float("nan")}, "warmup_epochs is nan"),
        ({"warmup_steps": 1.5}, "warmup_steps is 1.5"),
        ({"warmup_steps": 5, "warmup_epochs": 1}, "the warm-up is given twice"),
        ({"accumulate": 0}, "accumulate is 0"),
        ({"soup": 0}, "soup is 0"),
        ({"soup": 2, "choose": "last"}, "soup is 2 but choose is 'last'"),
        ({"epochs": 5, "choose_from": 5}, "choose_from is 5 but there are 5 epochs"),
        ({"patience": 30, "choose_from": 31}, "choose_from is 31 but patience is 30, so that the fit may stop before"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(given, sentence):
    with pytest.raises(CoppiceError, match=sentence):
        TrainingSettings(**given)


def test_defaults_leave_nothing_new_in_digests_and_lineages():
    assert list(TrainingSettings().to_dict()) == [
        "epochs", "batch_size", "learning_rate", "patience", "precision", "mixup", "seed",
    ]  # fmt: skip
    assert repr(TrainingSettings(epochs=3)) == (
        "TrainingSettings(epochs=3, batch_size=32, learning_rate=0.001, patience=30, precision='auto', mixup=0.0, "
        "seed=0)"
    )
    assert TrainingSettings(augment=Augment(gain=Gain(3.0))).to_dict()["augment"] == {"gain": {"decibels": 3.0}}
