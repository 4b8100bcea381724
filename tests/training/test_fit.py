import copy
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from coppice.core.errors import CoppiceError
from coppice.networks.dcase2021 import DCASE2021
from coppice.training import loop as loop_module
from coppice.training.callbacks import ResumePoint
from coppice.training.fit import fit
from coppice.training.settings import TrainingSettings


class Killed(Exception):
    pass


class KilledAt(ResumePoint):
    """Leaves a resume point after every epoch, and dies after one of them."""

    epoch, died = 1, False

    def __init__(self, path):
        super().__init__(path, every_s=0.0)

    def on_train_epoch_end(self, trainer, pl_module):
        super().on_train_epoch_end(trainer, pl_module)
        if trainer.current_epoch == type(self).epoch and not type(self).died:
            type(self).died = True
            self.die()

    def die(self):
        raise Killed


@pytest.fixture
def kill_at(monkeypatch):
    """Let the next fit in a folder die after an epoch, once."""

    def at(epoch, how=None):
        body = {"epoch": epoch, "died": False} | ({"die": lambda self: how()} if how else {})
        monkeypatch.setattr(loop_module, "ResumePoint", type("Once", (KilledAt,), body))

    return at


def same(first, second):
    """Weights, choice and history are equal, but for the seconds."""
    state = second.network.state_dict()
    for name, tensor in first.network.state_dict().items():
        assert torch.equal(tensor, state[name]), name

    def rows(fitted):
        return [{key: value for key, value in row.items() if key != "seconds"} for row in fitted.history]

    assert rows(first) == rows(second)
    assert (first.best_epoch, first.epochs, first.stopped) == (second.best_epoch, second.epochs, second.stopped)


@pytest.fixture
def impatient(settings):
    return replace(settings, epochs=30, patience=2, learning_rate=0.05)


@pytest.fixture(scope="module")
def stopped_early(sides):
    """What the impatient settings give when nothing happens."""
    torch.manual_seed(3)
    network = DCASE2021(widths=(3, 3, 4), dense=6, classes=3, frames=25)
    how = TrainingSettings(epochs=30, batch_size=8, learning_rate=0.05, patience=2, precision="float32", seed=1)
    return fit(network, *sides, settings=how)


@pytest.mark.parametrize("epoch", [0, 2])
def test_killed_and_resumed_equals_not_killed(network, sides, settings, tmp_path, kill_at, epoch):
    whole = fit(network, *sides, settings=settings)
    kill_at(epoch)
    with pytest.raises(Killed):
        fit(network, *sides, settings=settings, folder=tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["resume.ckpt"]
    same(fit(network, *sides, settings=settings, folder=tmp_path), whole)


@pytest.mark.parametrize("epochs_before_the_end", [0, 1])
def test_killed_while_stopping_early_and_resumed_equals_not_killed(
    network, sides, impatient, stopped_early, tmp_path, kill_at, epochs_before_the_end
):
    kill_at(stopped_early.epochs - 1 - epochs_before_the_end)
    with pytest.raises(Killed):
        fit(network, *sides, settings=impatient, folder=tmp_path)
    same(fit(network, *sides, settings=impatient, folder=tmp_path), stopped_early)


def test_the_given_network_is_left_as_it_is(network, sides, settings):
    before, flags = copy.deepcopy(network.state_dict()), {}
    network.bn2.train()
    network.conv1.bias.requires_grad_(False)
    flags = [(module.training) for module in network.modules()], [p.requires_grad for p in network.parameters()]
    fitted = fit(network, *sides, settings=settings)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert flags == ([m.training for m in network.modules()], [p.requires_grad for p in network.parameters()])
    assert all(parameter.grad is None for parameter in network.parameters())
    assert fitted.network is not network and not fitted.network.training


def test_the_best_epochs_weights_are_returned(sides, stopped_early):
    fitted = stopped_early
    losses = [row["validation_log_loss"] for row in fitted.history]
    assert fitted.best_epoch == int(np.argmin(losses)) < fitted.epochs - 1
    inputs, targets = sides[1]
    with torch.no_grad():
        logits = fitted.network(inputs).double().numpy()
    shifted = logits - logits.max(axis=1, keepdims=True)
    posteriors = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    ours = -np.log(posteriors[np.arange(len(targets)), targets.numpy()]).mean()
    assert ours == pytest.approx(min(losses), rel=1e-5)


def test_it_stops_when_patience_is_at_an_end(stopped_early):
    assert stopped_early.epochs == stopped_early.best_epoch + 3 < 30
    assert stopped_early.stopped == "no better validation log-loss for 2 epochs"


def test_a_loss_that_stops_being_a_number_is_said(network, sides, settings, monkeypatch):
    (inputs, targets), (checked, labels) = sides
    calls = []

    def poisoned(module, given):
        calls.append(1)
        if module.training and len(calls) > 5:  # three steps and a validation are well
            with torch.no_grad():
                module.dense2.bias.fill_(float("nan"))

    network.register_forward_pre_hook(lambda module, given: poisoned(module, given))
    fitted = fit(network, (inputs, targets), (checked, labels), settings=settings)
    assert fitted.best_epoch == 0 and torch.isfinite(fitted.network.dense2.bias).all()
    assert fitted.stopped == "validation log-loss was not a number in epoch 1"


def test_without_early_stopping_every_epoch_is_run(network, sides, settings):
    fitted = fit(network, *sides, settings=settings)
    assert fitted.epochs == 3 and fitted.stopped == "all epochs run"
    assert [row["epoch"] for row in fitted.history] == [0, 1, 2]
    assert {row["learning_rate"] for row in fitted.history} == {settings.learning_rate}


@pytest.mark.parametrize("factor", [1.0, 1e25])
def test_divergence_is_refused_or_finite_and_never_silent(network, sides, settings, factor):
    (inputs, targets), validation = sides
    wild = replace(settings, learning_rate=9.0)
    try:
        fitted = fit(network, (inputs * factor, targets), validation, settings=wild)
    except CoppiceError as error:
        assert "smaller learning_rate (it was 9)" in str(error)
        return
    assert all(torch.isfinite(t).all() for t in fitted.network.state_dict().values())
    assert np.isfinite(fitted.history[fitted.best_epoch]["validation_log_loss"])
    if not all(np.isfinite(row["validation_log_loss"]) for row in fitted.history):
        assert "not a number" in fitted.stopped


def test_inputs_that_are_no_numbers_are_refused(network, sides, settings):
    (inputs, targets), validation = sides
    with pytest.raises(CoppiceError, match="not produce a single finite validation log-loss"):
        fit(network, (inputs * float("nan"), targets), validation, settings=settings)


@pytest.mark.parametrize(("empty", "saying"), [(0, "there are no training clips"), (1, "no clips validate")])
def test_a_side_without_clips_is_refused(network, sides, settings, empty, saying):
    given = list(sides)
    given[empty] = (torch.zeros(0, 1, 40, 25), torch.zeros(0, dtype=torch.long))
    with pytest.raises(CoppiceError, match=saying):
        fit(network, *given, settings=settings)


def test_ctrl_c_is_a_keyboard_interrupt_and_the_next_call_resumes(network, sides, settings, tmp_path, kill_at):
    whole = fit(network, *sides, settings=settings)
    before = signal.getsignal(signal.SIGINT)
    # What Python does on SIGINT; the signal itself is sent to whole commands in tests/recipes.
    kill_at(1, lambda: signal.default_int_handler(signal.SIGINT, None))
    with pytest.raises(KeyboardInterrupt):
        fit(network, *sides, settings=settings, folder=tmp_path)
    assert signal.getsignal(signal.SIGINT) is before
    same(fit(network, *sides, settings=settings, folder=tmp_path), whole)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"hello" * 99])
def test_a_damaged_resume_point_is_refused_by_name(network, sides, settings, tmp_path, kill_at, damage):
    kill_at(0)
    with pytest.raises(Killed):
        fit(network, *sides, settings=settings, folder=tmp_path)
    file = tmp_path / "resume.ckpt"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(CoppiceError, match=r"resume\.ckpt is damaged.*delete it to begin again"):
        fit(network, *sides, settings=settings, folder=tmp_path)


def test_one_clip_in_the_last_batch_is_fine(network, sides, settings):
    (inputs, targets), validation = sides
    fitted = fit(network, (inputs[:17], targets[:17]), validation, settings=replace(settings, epochs=1))
    assert fitted.epochs == 1


def test_a_disk_that_is_full_is_one_sentence(network, sides, settings, tmp_path, kill_at, monkeypatch):
    from lightning.pytorch import Trainer

    def full(self, path, *rest, **more):
        raise OSError(28, "No space left on device")

    kill_at(99)
    monkeypatch.setattr(Trainer, "save_checkpoint", full)
    with pytest.raises(CoppiceError, match=r"cannot write .*resume.ckpt: the disk is full"):
        fit(network, *sides, settings=settings, folder=tmp_path)
    assert not list(tmp_path.iterdir())
