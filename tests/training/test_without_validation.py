"""Fits of all clips but those of the test: no clips validate, and the last epoch is kept."""

import math
from dataclasses import replace

import pytest
import torch

from coppice.core.errors import CoppiceError
from coppice.training import loop as loop_module
from coppice.training.callbacks import ResumePoint
from coppice.training.devices.machines import Machines
from coppice.training.fit import fit
from coppice.training.settings import TrainingSettings
from coppice.training.stop import Stop


@pytest.fixture
def alone(sides):
    """The training clips, and no others."""
    train, (inputs, targets) = sides
    return train, (inputs[:0], targets[:0])


@pytest.fixture
def last(settings):
    return replace(settings, choose="last", mixup=0.3)


def weights_equal(first, second):
    state = second.network.state_dict()
    return all(torch.equal(tensor, state[name]) for name, tensor in first.network.state_dict().items())


@pytest.mark.parametrize("more", [{}, {"ema": 0.9}, {"schedule": "cosine", "accumulate": 2}])
def test_the_network_is_that_of_the_last_epoch_of_a_fit_that_validates(network, sides, alone, last, more):
    heard = fit(network, *sides, settings=replace(last, **more))
    unheard = fit(network, *alone, settings=replace(last, **more))
    assert weights_equal(unheard, heard)
    assert (unheard.best_epoch, unheard.epochs, unheard.stopped) == (2, 3, "all epochs run")
    assert [row["train_log_loss"] for row in unheard.history] == [row["train_log_loss"] for row in heard.history]
    assert all(math.isnan(row["validation_log_loss"]) for row in unheard.history)


def test_no_patience_ends_it(network, alone, last):
    assert fit(network, *alone, settings=replace(last, epochs=6, patience=1)).epochs == 6


@pytest.mark.parametrize("epoch", [0, 2])
def test_killed_and_resumed_equals_not_killed(network, alone, last, tmp_path, monkeypatch, epoch):
    class KilledAt(ResumePoint):
        def on_train_epoch_end(self, trainer, pl_module):
            self.every_s = 0.0
            super().on_train_epoch_end(trainer, pl_module)
            if trainer.current_epoch == epoch:
                raise KeyError("killed")

    whole = fit(network, *alone, settings=last)
    with monkeypatch.context() as patched, pytest.raises(KeyError):
        patched.setattr(loop_module, "ResumePoint", KilledAt)
        fit(network, *alone, settings=last, folder=tmp_path)
    again = fit(network, *alone, settings=last, folder=tmp_path)
    assert weights_equal(again, whole) and len(again.history) == 3


def test_a_loss_that_is_no_number_ends_it_and_the_epoch_before_is_kept(network, alone, last, monkeypatch):
    from coppice.training.fitting import Fitting

    step = Fitting.training_step

    def breaks(self, batch, index):
        loss = step(self, batch, index)
        return loss * math.nan if self.current_epoch == 1 else loss

    monkeypatch.setattr(Fitting, "training_step", breaks)
    fitted = fit(network, *alone, settings=last)
    assert (fitted.best_epoch, fitted.epochs) == (0, 2)
    assert fitted.stopped == "training log-loss was not a number in epoch 1"


@pytest.mark.proof
def test_two_processes_fit_it_too(network, sides, alone, last):
    inputs, _ = sides[1]
    one, two = (fit(network, *alone, settings=last, machines=Machines(devices=count)).network for count in (1, 2))
    with torch.inference_mode():
        torch.testing.assert_close(two(inputs).softmax(1), one(inputs).softmax(1), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("settings", "saying"),
    [
        (TrainingSettings(), "no clips validate, but choose is 'log_loss', which goes by them; set choose to 'last'"),
        (TrainingSettings(choose="accuracy"), "choose is 'accuracy'"),
        (TrainingSettings(choose="last", stop=Stop(0.1)), "stop is Stop.* set stop to null"),
    ],
)
def test_settings_that_go_by_validation_clips_are_refused(network, alone, settings, saying):
    with pytest.raises(CoppiceError, match=saying):
        fit(network, *alone, settings=settings)
