"""Fit a network to clips with Lightning: early stopping, the best epoch's weights, exact resume."""

import copy
import logging
import math
import pickle
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor, nn

from coppice.core.errors import CoppiceError
from coppice.core.files import make_folder
from coppice.core.progress import progress_bar, say
from coppice.core.seeds import seed_global
from coppice.training.allocator import keep_freed_memory
from coppice.training.batches import ordered_batches, shuffled_batches
from coppice.training.callbacks import MONITOR, BestEpoch, EpochBar, History, ResumePoint, StaysStopped
from coppice.training.layout import training_layout
from coppice.training.mixup import mixup_loss
from coppice.training.precision import Precision, choose_precision
from coppice.training.settings import TrainingSettings
from coppice.training.teacher import Teacher

Inputs = Float[Tensor, "clips 1 mels frames"]
Targets = Int[Tensor, " clips"]


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a fit returns.

    Attributes
    ----------
    network : nn.Module
        A new network with the best epoch's weights, in eval mode, in float32, on the CPU.
    best_epoch : int
        Epoch (from 0) with the lowest validation log-loss.
    epochs : int
        How many were run.
    stopped : str
        Why it ended, in words.
    history : list of dict
        One row per epoch.
    precision : Precision
        The arithmetic that was chosen, and why.
    """

    network: nn.Module
    best_epoch: int
    epochs: int
    stopped: str
    history: list[dict[str, float]]
    precision: Precision


class _Fitting(LightningModule):
    """Cross-entropy and Adam around a network, for Lightning."""

    def __init__(self, network: nn.Module, settings: TrainingSettings, teacher: Teacher | None) -> None:
        super().__init__()
        self.network, self.settings, self.teacher = network, settings, teacher
        self._validation: list[tuple[Tensor, Tensor]] = []

    def training_step(self, batch: tuple[Inputs, Targets, *tuple[Tensor, ...]], index: int) -> Tensor:
        # Dropout depends on (seed, epoch, step) only, so what is run again after a kill is the same.
        seed_global(self.settings.seed, "step", self.current_epoch, index)
        inputs, targets, *soft = batch
        loss = mixup_loss(
            self.network, inputs, targets, alpha=self.settings.mixup, soft=next(iter(soft), None), teacher=self.teacher
        )
        self.log("train_log_loss", loss, on_step=False, on_epoch=True, batch_size=len(targets))
        return loss

    def validation_step(self, batch: tuple[Inputs, Targets], index: int) -> None:
        inputs, targets = batch
        self._validation.append((self.network(inputs).double(), targets))

    def on_validation_epoch_end(self) -> None:
        logits = torch.cat([logits for logits, _ in self._validation])
        targets = torch.cat([targets for _, targets in self._validation])
        self._validation.clear()
        self.log(MONITOR, nn.functional.cross_entropy(logits, targets))
        self.log("validation_accuracy", (logits.argmax(1) == targets).double().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.network.parameters(), lr=self.settings.learning_rate)


def fit(
    network: nn.Module,
    train: tuple[Inputs, Targets],
    validation: tuple[Inputs, Targets],
    *,
    settings: TrainingSettings | None = None,
    folder: Path | None = None,
    description: str = "training",
    soft: Float[Tensor, "clips classes"] | None = None,
    teacher: Teacher | None = None,
) -> Fitted:
    """Fit a copy of a network and return it with its best epoch's weights.

    Adam on cross-entropy; validation log-loss decides when to stop and which epoch's weights are kept. On a
    processor with bfloat16 instructions the step runs in bfloat16 autocast, in the layout that
    :func:`coppice.training.layout.training_layout` chooses; evaluation elsewhere is float32.

    Parameters
    ----------
    network : nn.Module
        Where to start from; left as it is. A layer whose parameters are frozen (``requires_grad`` is False) stays as it
        is, running statistics included.
    train, validation : (inputs, targets)
        Normalised log-mel of shape (clips, 1, mels, frames) and class indices.
    settings : TrainingSettings, optional
        The defaults are those of the DCASE 2021 report: Adam, at most 200 epochs, early stopping.
    folder : Path, optional
        Where the resume point lies. When the same fit was interrupted there, it goes on, and ends with the same
        numbers as if it had not been. Removed at the end by the caller that owns the folder.
    description : str
        What the progress bar says.
    soft, teacher : Tensor and Teacher, optional
        What a teacher says of the training clips, and how much that counts
        (:func:`coppice.training.teacher.taught_loss`). Validation is by the labels alone.

    Returns
    -------
    Fitted

    Raises
    ------
    CoppiceError
        If there are no clips, the resume point is damaged, or the loss stops being a number.
    KeyboardInterrupt
        On Ctrl-C, after which the same call resumes.
    """
    settings = settings or TrainingSettings()
    for side, (_, targets) in (("training", train), ("validation", validation)):
        if not len(targets):
            raise CoppiceError(f"there are no {side} clips; check the split.")
    precision = choose_precision(settings.precision)
    say(f"{description} in {precision.name}: {precision.reason}")
    keep_freed_memory()
    module = _Fitting(copy.deepcopy(network).float().train(), settings, teacher)
    _hold_frozen_(module)
    module.to(memory_format=training_layout(network))
    best, history = BestEpoch(), History()
    resume = make_folder(folder) / "resume.ckpt" if folder is not None else None
    with progress_bar(description, settings.epochs) as advance, _quiet_lightning():
        early = EarlyStopping(MONITOR, patience=settings.patience, mode="min")
        callbacks: list[Any] = [best, early, history, StaysStopped(early, history)]
        callbacks += [EpochBar(advance, best)] + ([ResumePoint(resume)] if resume else [])
        trainer = Trainer(
            max_epochs=settings.epochs,
            precision=precision.lightning,
            devices=1,
            callbacks=callbacks,
            logger=False,
            enable_checkpointing=resume is not None,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        with _plain_interrupt():
            trainer.fit(
                module,
                shuffled_batches(
                    *train, *(() if soft is None else (soft,)), batch_size=settings.batch_size, seed=settings.seed
                ),
                ordered_batches(*validation, batch_size=64),
                ckpt_path=str(resume) if resume and _is_resume_point(resume) else None,
                weights_only=True,
            )
    if not best.weights:
        raise CoppiceError(
            "training did not produce a single finite validation log-loss; use a smaller learning_rate "
            f"(it was {settings.learning_rate:g})."
        )
    fitted = copy.deepcopy(network).float().cpu()
    fitted.load_state_dict(best.weights)
    if not all(torch.isfinite(tensor).all() for tensor in best.weights.values()):
        raise CoppiceError(
            "training left weights or running statistics that are not numbers; use a smaller learning_rate "
            f"(it was {settings.learning_rate:g})."
        )
    stopped = f"no better validation log-loss for {settings.patience} epochs"
    if not math.isfinite(history.rows[-1][MONITOR]):
        stopped = f"validation log-loss was not a number in epoch {len(history.rows) - 1}"
    elif len(history.rows) == settings.epochs:
        stopped = "all epochs run"
    return Fitted(
        network=fitted.eval(),
        best_epoch=best.epoch,
        epochs=len(history.rows),
        stopped=stopped,
        history=history.rows,
        precision=precision,
    )


def _hold_frozen_(module: nn.Module) -> None:
    """Put layers whose parameters are all frozen in eval mode, which Lightning leaves as it finds it."""
    for layer in module.modules():
        parameters = list(layer.parameters(recurse=False))
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            layer.eval()


def _is_resume_point(file: Path) -> bool:
    if not file.exists():
        return False
    try:
        torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, OSError) as error:
        raise CoppiceError(f"{file} is damaged, so training cannot go on from it; delete it to begin again.") from error
    return True


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    # Its hints are about workers and loggers, which do not apply to batches that lie in memory.
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning.*")
            warnings.filterwarnings("ignore", message=".*LeafSpec.*")
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def _plain_interrupt() -> Iterator[None]:
    # Lightning turns Ctrl-C into SystemExit(1) and leaves SIGINT ignored; the caller expects KeyboardInterrupt.
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if main else None
    try:
        yield
    except SystemExit as error:
        raise KeyboardInterrupt from error
    finally:
        if handler is not None:
            signal.signal(signal.SIGINT, handler)
