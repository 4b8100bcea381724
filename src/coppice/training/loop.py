"""The loop of a fit: Lightning's Trainer over the epochs, in one process or in each of several."""

import copy
import logging
import pickle
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
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

from coppice.core.errors import CoppiceError
from coppice.training.allocator import keep_freed_memory
from coppice.training.augment.augmenter import Augmenter
from coppice.training.batches import ordered_batches, shuffled_batches
from coppice.training.callbacks import (
    MONITOR,
    TRAIN_MONITOR,
    BestEpochs,
    EpochBar,
    GainStop,
    History,
    LastEpoch,
    ResumePoint,
    StaysStopped,
)
from coppice.training.devices.share import Share
from coppice.training.devices.whole_batch import see_whole_batch_
from coppice.training.fitting import Fitting
from coppice.training.layout import training_layout
from coppice.training.memory import plain_out_of_memory
from coppice.training.precision import Precision
from coppice.training.quick_layers import use_quick_layers_
from coppice.training.settings import TrainingSettings
from coppice.training.teacher import Lesson

Inputs = Float[Tensor, "clips 1 mels frames"]
Targets = Int[Tensor, " clips"]
_ONE_DEVICE: Mapping[str, Any] = {"devices": 1}


@dataclass(frozen=True, eq=False)
class FitJob:
    """All that the loop of a fit depends on.

    Attributes
    ----------
    network : nn.Module
        Where to start from.
    train, validation : (inputs, targets)
        Normalised log-mel and class indices; of validation perhaps none.
    settings : TrainingSettings
        How to fit.
    precision : Precision
        The arithmetic that was chosen.
    warmup, steps : int
        Optimizer steps of the warm-up, and of the whole fit.
    soft, lesson : Tensor and Lesson, optional
        What a teacher says of the training clips, and how much that counts.
    augmenter : Augmenter, optional
        What is done to the training batches.
    resume : Path, optional
        Where the resume point lies.
    logged : bool
        Whether loggers listen.
    epoch_macs : int
        MACs of an epoch, by which ``settings.stop`` goes.
    """

    network: nn.Module
    train: tuple[Inputs, Targets]
    validation: tuple[Inputs, Targets]
    settings: TrainingSettings
    precision: Precision
    warmup: int
    steps: int
    soft: Float[Tensor, "clips classes"] | None = None
    lesson: Lesson | None = None
    augmenter: Augmenter | None = None
    resume: Path | None = None
    logged: bool = False
    epoch_macs: int = 0


@dataclass(frozen=True, eq=False)
class Looped:
    """What the loop leaves.

    Attributes
    ----------
    kept : list of (epoch, weights)
        Of the best epochs, the best first.
    rows : list of dict
        The history, one row per epoch.
    reason : str, optional
        Why it ended, where further epochs were not worth their MACs.
    """

    kept: list[tuple[int, dict[str, Tensor]]]
    rows: list[dict[str, float]]
    reason: str | None = None


def loop(
    job: FitJob,
    *,
    advance: Callable[[int, str], None],
    loggers: Sequence[Logger] = (),
    start: Path | None = None,
    share: Share | None = None,
    place: Mapping[str, Any] = _ONE_DEVICE,
) -> Looped:
    """Train a copy of the job's network until its settings say that it is enough.

    Parameters
    ----------
    job : FitJob
        What to fit to what.
    advance : callable
        Moves the progress bar.
    loggers : sequence of Logger
        Get what the history has of every epoch.
    start : Path, optional
        The resume point to go on from, if there is such a file; that of the job if not given.
    share : Share, optional
        Which part of every batch is this process's; it has all of it if not given.
    place : mapping
        What else Lightning's Trainer is told of devices.

    Raises
    ------
    CoppiceError
        If the resume point is damaged or the memory does not suffice.
    KeyboardInterrupt
        On Ctrl-C.
    """
    settings, start = job.settings, start or job.resume
    keep_freed_memory()
    network = copy.deepcopy(job.network).float().train()
    if share is not None:
        see_whole_batch_(network, share)
    use_quick_layers_(network)
    module = Fitting(
        network,
        settings,
        lesson=job.lesson,
        augmenter=job.augmenter,
        warmup=job.warmup,
        steps=job.steps,
        share=share,
    )
    _hold_frozen_(module)
    module.to(memory_format=training_layout(job.network, half=job.precision.name == "bfloat16"))
    validates = len(job.validation[1]) > 0
    history = History()
    early = EarlyStopping(MONITOR, patience=settings.patience, mode="min")
    gain_stop = GainStop(settings.stop, job.epoch_macs, history) if settings.stop is not None else None
    best = (
        BestEpochs(count=settings.soup, choose=settings.choose, start=settings.choose_from)
        if validates
        else LastEpoch()
    )
    callbacks: list[Any] = [best, history]
    callbacks += [early, StaysStopped(early, history)] if validates else []
    callbacks += [gain_stop] if gain_stop is not None else []
    callbacks += [EpochBar(advance, history, monitor=MONITOR if validates else TRAIN_MONITOR)]
    callbacks += [ResumePoint(job.resume)] if job.resume else []
    callbacks += [LearningRateMonitor("epoch")] if loggers else []
    # Which clip is which comes last, for augmentation that has copies of some.
    more = [] if job.soft is None else [job.soft]
    more += [] if job.augmenter is None else [torch.arange(len(job.train[1]))]
    with _quiet_lightning(), _plain_interrupt(), plain_out_of_memory(settings.batch_size):
        trainer = Trainer(
            **place,
            max_epochs=settings.epochs,
            precision=job.precision.lightning,
            accumulate_grad_batches=settings.accumulate,
            callbacks=callbacks,
            logger=list(loggers) or False,
            enable_checkpointing=job.resume is not None,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(
            module,
            shuffled_batches(*job.train, *more, batch_size=settings.batch_size, seed=settings.seed),
            ordered_batches(*job.validation, batch_size=64) if validates else None,
            ckpt_path=str(start) if start and is_resume_point(start) else None,
            weights_only=True,
        )
    by_gain = gain_stop is not None and gain_stop.due and early.wait_count < early.patience
    reason = gain_stop.reason if gain_stop is not None and by_gain else None
    return Looped([(epoch, weights) for _, epoch, weights in best.kept], history.rows, reason)


def is_resume_point(file: Path) -> bool:
    """Say whether there is such a file.

    Raises
    ------
    CoppiceError
        If it is there but damaged.
    """
    if not file.exists():
        return False
    try:
        torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, OSError) as error:
        raise CoppiceError(f"{file} is damaged, so training cannot go on from it; delete it to begin again.") from error
    return True


def _hold_frozen_(module: nn.Module) -> None:
    """Put layers whose parameters are all frozen in eval mode, which Lightning leaves as it finds it."""
    for layer in module.modules():
        parameters = list(layer.parameters(recurse=False))
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            layer.eval()


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
