"""Fit a network to clips with Lightning: early stopping, the best epoch's weights, exact resume."""

import copy
import logging
import math
import pickle
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor
from lightning.pytorch.loggers import Logger
from torch import Tensor, nn

from coppice.complexity.fit_macs import epoch_macs
from coppice.complexity.macs import count_macs
from coppice.core.errors import CoppiceError
from coppice.core.files import make_folder
from coppice.core.progress import progress_bar, say
from coppice.training.allocator import keep_freed_memory
from coppice.training.augment.augmenter import Augmenter
from coppice.training.averaging import average_weights, remeasure_norms_
from coppice.training.batches import ordered_batches, shuffled_batches
from coppice.training.callbacks import MONITOR, BestEpochs, EpochBar, GainStop, History, ResumePoint, StaysStopped
from coppice.training.fitting import Fitting
from coppice.training.layout import training_layout
from coppice.training.memory import plain_out_of_memory
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
        Epoch (from 0) with the lowest validation log-loss, or what else the settings choose by.
    epochs : int
        How many were run.
    stopped : str
        Why it ended, in words.
    history : list of dict
        One row per epoch.
    precision : Precision
        The arithmetic that was chosen, and why.
    soup : tuple of int
        The epochs whose weights were averaged, the best first; empty where none were.
    """

    network: nn.Module
    best_epoch: int
    epochs: int
    stopped: str
    history: list[dict[str, float]]
    precision: Precision
    soup: tuple[int, ...] = ()


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
    augmenter: Augmenter | None = None,
    loggers: Sequence[Logger] = (),
) -> Fitted:
    """Fit a copy of a network and return it with its best epoch's weights.

    Adam on cross-entropy, unless the settings say otherwise; validation log-loss decides when to stop, and which
    epoch's weights are kept. On a processor with bfloat16 instructions the step runs in bfloat16 autocast, in the
    layout that :func:`coppice.training.layout.training_layout` chooses; evaluation elsewhere is float32.

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
    augmenter : Augmenter, optional
        What is done to the training batches; needed where the settings have ``augment``
        (:func:`coppice.training.augment.build.build_augmenter`).
    loggers : sequence of lightning.pytorch.loggers.Logger
        Get the settings, and what the history has of every epoch.

    Returns
    -------
    Fitted

    Raises
    ------
    CoppiceError
        If there are no clips, the resume point is damaged, the loss is never a number, or the memory does not suffice.
    KeyboardInterrupt
        On Ctrl-C, after which the same call resumes.
    """
    settings = settings or TrainingSettings()
    for side, (_, targets) in (("training", train), ("validation", validation)):
        if not len(targets):
            raise CoppiceError(f"there are no {side} clips; check the split.")
    if settings.augment is not None and augmenter is None:
        raise CoppiceError("the settings have augment but fit got no augmenter; give one, or call train or finetune.")
    precision = choose_precision(settings.precision)
    say(f"{description} in {precision.name}: {precision.reason}")
    keep_freed_memory()
    warmup, steps = _steps(settings, len(train[1]))
    module = Fitting(
        copy.deepcopy(network).float().train(),
        settings,
        teacher=teacher,
        augmenter=augmenter,
        warmup=warmup,
        steps=steps,
    )
    _hold_frozen_(module)
    module.to(memory_format=training_layout(network))
    best = BestEpochs(count=settings.soup, choose=settings.choose, start=settings.choose_from)
    history = History()
    gain_stop: GainStop | None = None
    if settings.stop is not None:
        with plain_out_of_memory(settings.batch_size):
            # Of a copy: networks that round keep ranges, which a pass in between could change.
            macs = count_macs(copy.deepcopy(module.network), train[0][:1]).total
        of_epoch = epoch_macs(macs, clips=len(train[1]), validation_clips=len(validation[1]))
        gain_stop = GainStop(settings.stop, of_epoch, history)
    resume = make_folder(folder) / "resume.ckpt" if folder is not None else None
    with progress_bar(description, settings.epochs) as advance, _quiet_lightning():
        early = EarlyStopping(MONITOR, patience=settings.patience, mode="min")
        callbacks: list[Any] = [best, early, history, StaysStopped(early, history)]
        callbacks += [gain_stop] if gain_stop is not None else []
        callbacks += [EpochBar(advance, history)] + ([ResumePoint(resume)] if resume else [])
        callbacks += [LearningRateMonitor("epoch")] if loggers else []
        for logger in loggers:
            logger.log_hyperparams(settings.to_dict())
        trainer = Trainer(
            max_epochs=settings.epochs,
            precision=precision.lightning,
            accumulate_grad_batches=settings.accumulate,
            devices=1,
            callbacks=callbacks,
            logger=list(loggers) or False,
            enable_checkpointing=resume is not None,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        # Which clip is which comes last, for augmentation that has copies of some.
        more = [] if soft is None else [soft]
        more += [] if augmenter is None else [torch.arange(len(train[1]))]
        with _plain_interrupt(), plain_out_of_memory(settings.batch_size):
            trainer.fit(
                module,
                shuffled_batches(*train, *more, batch_size=settings.batch_size, seed=settings.seed),
                ordered_batches(*validation, batch_size=64),
                ckpt_path=str(resume) if resume and _is_resume_point(resume) else None,
                weights_only=True,
            )
    if not best.kept:
        raise CoppiceError(
            f"training did not produce a single finite validation log-loss from epoch {settings.choose_from} on, and "
            f"stopped in epoch {len(history.rows) - 1}; use a smaller learning_rate (it was "
            f"{settings.learning_rate:g})."
        )
    states = [weights for _, _, weights in best.kept]
    fitted = copy.deepcopy(network).float().cpu()
    fitted.load_state_dict(states[0] if len(states) == 1 else average_weights(states))
    if len(states) > 1:
        remeasure_norms_(fitted, train[0])
    if not all(torch.isfinite(tensor).all() for tensor in fitted.state_dict().values()):
        raise CoppiceError(
            "training left weights or running statistics that are not numbers; use a smaller learning_rate "
            f"(it was {settings.learning_rate:g})."
        )
    stopped = f"no better validation log-loss for {settings.patience} epochs"
    if not math.isfinite(history.rows[-1][MONITOR]):
        stopped = f"validation log-loss was not a number in epoch {len(history.rows) - 1}"
        say(f"{description}: {stopped}; the weights of epoch {best.epoch} are kept. Try a smaller learning_rate.")
    elif len(history.rows) == settings.epochs:
        stopped = "all epochs run"
    elif gain_stop is not None and gain_stop.due and early.wait_count < early.patience:
        stopped = gain_stop.reason
    return Fitted(
        network=fitted.eval(),
        best_epoch=best.epoch,
        epochs=len(history.rows),
        stopped=stopped,
        history=history.rows,
        precision=precision,
        soup=tuple(epoch for _, epoch, _ in best.kept) if len(states) > 1 else (),
    )


def _steps(settings: TrainingSettings, clips: int) -> tuple[int, int]:
    """Return the optimizer steps of the warm-up and of the whole fit."""
    in_epoch = math.ceil(math.ceil(clips / settings.batch_size) / settings.accumulate)
    total = settings.epochs * in_epoch
    warmup = settings.warmup_steps or round(settings.warmup_epochs * in_epoch)
    if warmup >= total:
        say(
            f"the warm-up takes {warmup} steps but the whole fit {total}, so that the learning rate does not get to "
            f"{settings.learning_rate:g}; give fewer warmup_steps"
        )
    return warmup, total


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
