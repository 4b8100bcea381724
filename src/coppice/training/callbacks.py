"""What happens at the end of an epoch: remember the best weights, write the history, leave a resume point."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping

from coppice.core.files import plain_os_errors
from coppice.core.units import count_text
from coppice.training.stop import Stop

MONITOR = "validation_log_loss"
TRAIN_MONITOR = "train_log_loss"


def _weights(module: LightningModule) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.watched.state_dict().items()}


class BestEpochs(Callback):
    """Holds the weights of the best epochs; travels in the resume point.

    Parameters
    ----------
    count : int >= 1
        How many epochs.
    choose : {"log_loss", "accuracy", "last"}
        The lowest validation log-loss, the highest validation accuracy, or the last epoch whose log-loss is a number.
    start : int
        The first epoch that counts.
    """

    def __init__(self, *, count: int = 1, choose: str = "log_loss", start: int = 0) -> None:
        self.count, self.choose, self.start = count, choose, start
        # (score, epoch) -> weights, the best first; a lower score is better
        self.kept: list[tuple[float, int, dict[str, torch.Tensor]]] = []

    @property
    def epoch(self) -> int:
        """The best epoch; −1: none yet."""
        return self.kept[0][1] if self.kept else -1

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the weights if they are among the best so far; the first of equals wins."""
        loss, epoch = float(trainer.callback_metrics[MONITOR]), trainer.current_epoch
        if epoch < self.start or not math.isfinite(loss):
            return
        score = {
            "log_loss": loss,
            "accuracy": -float(trainer.callback_metrics["validation_accuracy"]),
            "last": -float(epoch),
        }[self.choose]
        if len(self.kept) < self.count or score < self.kept[-1][0]:
            self.kept = sorted([*self.kept, (score, epoch, _weights(pl_module))], key=lambda one: one[:2])[: self.count]

    def state_dict(self) -> dict[str, Any]:
        """Return what resuming needs."""
        return {"kept": [list(one) for one in self.kept]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it up again."""
        self.kept = [(score, epoch, weights) for score, epoch, weights in state_dict["kept"]]


class LastEpoch(BestEpochs):
    """Holds the last epoch's weights, where no clips validate; a training log-loss that is no number ends the fit."""

    def __init__(self) -> None:
        super().__init__(choose="last")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop before the first epoch, if the fit was killed just after it had stopped."""
        if trainer.current_epoch > self.epoch + 1:
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the weights, or stop."""
        if math.isfinite(float(trainer.callback_metrics[TRAIN_MONITOR])):
            epoch = trainer.current_epoch
            self.kept = [(-float(epoch), epoch, _weights(pl_module))]
        else:
            trainer.should_stop = True


class History(Callback):
    """One row per epoch: training and validation log-loss, validation accuracy, learning rate, seconds.

    Without validation clips their two are not numbers.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self._start = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._start = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write down the epoch."""
        metrics = trainer.callback_metrics
        self.rows.append(
            {
                "epoch": trainer.current_epoch,
                TRAIN_MONITOR: float(metrics[TRAIN_MONITOR]),
                MONITOR: float(metrics.get(MONITOR, math.nan)),
                "validation_accuracy": float(metrics.get("validation_accuracy", math.nan)),
                "learning_rate": float(trainer.optimizers[0].param_groups[0]["lr"]),
                "seconds": round(time.perf_counter() - self._start, 4),
            }
        )

    def state_dict(self) -> dict[str, Any]:
        """Return what resuming needs."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it up again."""
        self.rows = list(state_dict["rows"])


class StaysStopped(Callback):
    """Lets a fit that was killed just after early stopping end where it had stopped, not one epoch later."""

    def __init__(self, early: EarlyStopping, history: History) -> None:
        self._early, self._history = early, history

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop before the first epoch, if the resume point says so."""
        rows = self._history.rows
        if self._early.wait_count >= self._early.patience or (rows and not math.isfinite(rows[-1][MONITOR])):
            trainer.should_stop = True


class GainStop(Callback):
    """Ends a fit when further epochs are not worth their MACs; what it goes by is in the history, and nowhere else."""

    def __init__(self, stop: Stop, macs: int, history: History) -> None:
        self._stop, self._macs, self._history = stop, macs, history

    @property
    def losses(self) -> list[float]:
        """Validation log-loss of every epoch so far."""
        return [row[MONITOR] for row in self._history.rows]

    @property
    def due(self) -> bool:
        """Whether it ends here."""
        return self._stop.is_due(self.losses, self._macs)

    @property
    def reason(self) -> str:
        """Why it ended, in words."""
        gain = self._stop.expected_gain(self.losses, self._macs) or 0.0
        if gain <= 0:
            return f"validation log-loss no longer fell over {self._stop.window} epochs"
        return (
            f"10^12 further MACs promised {gain:.2g} nats of validation log-loss, less than "
            f"{self._stop.gain_per_tmac:g}; an epoch takes {count_text(self._macs)}MACs"
        )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop before the first epoch, if the fit was killed just after it had stopped."""
        trainer.should_stop |= self.due

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop, if it is time."""
        trainer.should_stop |= self.due


class EpochBar(Callback):
    """Moves the progress bar once an epoch."""

    def __init__(self, advance: Callable[[int, str], None], history: History, *, monitor: str = MONITOR) -> None:
        self._advance, self._history, self._monitor, self._shown = advance, history, monitor, 0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the newest and the best log-loss."""
        done = trainer.current_epoch + 1
        losses = [row[self._monitor] for row in self._history.rows]
        side = {MONITOR: "validation", TRAIN_MONITOR: "training"}[self._monitor]
        note = f"{side} log-loss {losses[-1]:.3f} (best {min(losses):.3f})"
        self._advance(done - self._shown, note)
        self._shown = done


class ResumePoint(Checkpoint):
    """Leaves a file from which a killed fit goes on; at most every two seconds: the outcome does not depend on it.

    A ``Checkpoint``, since Lightning calls those last: early stopping has then counted the epoch.
    """

    def __init__(self, path: Path, *, every_s: float = 2.0) -> None:
        self.path, self.every_s, self._last = path, every_s, time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the resume point whole, if it is time."""
        # All processes of a fit write together or not at all, and only the first one touches the disk.
        if not trainer.strategy.broadcast(time.monotonic() - self._last >= self.every_s):
            return
        with plain_os_errors("write", self.path):
            temporary = self.path.with_name(f".{self.path.name}.partial")
            try:
                trainer.save_checkpoint(temporary)
                if trainer.is_global_zero:
                    temporary.replace(self.path)
            finally:
                if trainer.is_global_zero:
                    temporary.unlink(missing_ok=True)
        self._last = time.monotonic()
