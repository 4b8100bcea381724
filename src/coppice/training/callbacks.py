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

MONITOR = "validation_log_loss"


class BestEpoch(Callback):
    """Holds the weights of the epoch with the lowest validation log-loss; travels in the resume point."""

    def __init__(self) -> None:
        self.epoch, self.score = -1, float("inf")
        self.weights: dict[str, torch.Tensor] = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the weights if they are the best so far; the first of equals wins."""
        score = float(trainer.callback_metrics[MONITOR])
        if score < self.score:
            self.epoch, self.score = trainer.current_epoch, score
            self.weights = {name: t.detach().clone() for name, t in pl_module.network.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """Return what resuming needs."""
        return {"epoch": self.epoch, "score": self.score, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it up again."""
        self.epoch, self.score, self.weights = state_dict["epoch"], state_dict["score"], state_dict["weights"]


class History(Callback):
    """One row per epoch: training and validation log-loss, validation accuracy, learning rate, seconds."""

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
                "train_log_loss": float(metrics["train_log_loss"]),
                MONITOR: float(metrics[MONITOR]),
                "validation_accuracy": float(metrics["validation_accuracy"]),
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


class EpochBar(Callback):
    """Moves the progress bar once an epoch."""

    def __init__(self, advance: Callable[[int, str], None], best: BestEpoch) -> None:
        self._advance, self._best, self._shown = advance, best, 0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the newest and the best validation log-loss."""
        done = trainer.current_epoch + 1
        now = float(trainer.callback_metrics[MONITOR])
        note = f"validation log-loss {now:.3f} (best {self._best.score:.3f})"
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
        if time.monotonic() - self._last < self.every_s:
            return
        with plain_os_errors("write", self.path):
            temporary = self.path.with_name(f".{self.path.name}.partial")
            try:
                trainer.save_checkpoint(temporary)
                temporary.replace(self.path)
            finally:
                temporary.unlink(missing_ok=True)
        self._last = time.monotonic()
