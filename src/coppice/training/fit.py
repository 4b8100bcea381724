"""Fit a network to clips with Lightning: early stopping, the best epoch's weights, exact resume."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from lightning.pytorch.loggers import Logger
from torch import Tensor, nn

from coppice.complexity.fit_macs import epoch_macs
from coppice.complexity.macs import count_macs
from coppice.core.errors import CoppiceError
from coppice.core.files import make_folder
from coppice.core.progress import progress_bar, say
from coppice.training.augment.augmenter import Augmenter
from coppice.training.averaging import average_weights, remeasure_norms_
from coppice.training.callbacks import MONITOR, TRAIN_MONITOR
from coppice.training.devices.crew import loop_together
from coppice.training.devices.machines import ONE_DEVICE, Machines
from coppice.training.loop import FitJob, Inputs, Targets, loop
from coppice.training.memory import plain_out_of_memory
from coppice.training.precision import Precision, choose_precision
from coppice.training.settings import TrainingSettings
from coppice.training.teacher import Teacher


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
    machines: Machines = ONE_DEVICE,
) -> Fitted:
    """Fit a copy of a network and return it with its best epoch's weights.

    Adam on cross-entropy, unless the settings say otherwise; validation log-loss decides when to stop, and which
    epoch's weights are kept. On a processor with bfloat16 instructions the step runs in bfloat16 autocast, in the
    layout that :func:`coppice.training.layout.training_layout` chooses and with layers of our own where they are
    quicker (:func:`coppice.training.quick_layers.use_quick_layers_`); evaluation elsewhere is float32.

    Parameters
    ----------
    network : nn.Module
        Where to start from; left as it is. A layer whose parameters are frozen (``requires_grad`` is False) stays as it
        is, running statistics included.
    train, validation : (inputs, targets)
        Normalised log-mel of shape (clips, 1, mels, frames) and class indices. Validation may have no clips, where the
        settings choose the last epoch.
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
    machines : Machines
        On how many devices and machines; they share every batch.

    Returns
    -------
    Fitted

    Raises
    ------
    CoppiceError
        If there are no clips, the settings need validation clips and there are none, the resume point is damaged, the
        loss is never a number, the memory does not suffice, or the devices or machines are not there.
    KeyboardInterrupt
        On Ctrl-C, after which the same call resumes.
    """
    settings = settings or TrainingSettings()
    if not len(train[1]):
        raise CoppiceError("there are no training clips; check the split.")
    settings.check_validation(len(validation[1]))
    side, monitor = ("validation", MONITOR) if len(validation[1]) else ("training", TRAIN_MONITOR)
    if settings.augment is not None and augmenter is None:
        raise CoppiceError("the settings have augment but fit got no augmenter; give one, or call train or finetune.")
    machines.check(settings.batch_size)
    precision = choose_precision(settings.precision)
    say(f"{description} in {precision.name}: {precision.reason}")
    warmup, steps = _steps(settings, len(train[1]))
    resume = make_folder(folder) / "resume.ckpt" if folder is not None else None
    job = FitJob(
        network=network,
        train=train,
        validation=validation,
        settings=settings,
        precision=precision,
        warmup=warmup,
        steps=steps,
        soft=soft,
        lesson=teacher.lesson if teacher is not None else None,
        augmenter=augmenter,
        resume=resume,
        logged=bool(loggers),
        epoch_macs=_epoch_macs(network, train, validation, settings),
    )
    for logger in loggers:
        logger.log_hyperparams(settings.to_dict())
    # On a machine that only helps nothing moves a bar.
    with progress_bar(description, settings.epochs, after_s=0.0 if machines.leads else math.inf) as advance:
        if machines.processes == 1:
            looped = loop(job, advance=advance, loggers=loggers)
        else:
            looped = loop_together(job, machines, advance=advance, loggers=loggers, description=description)
    kept, rows = looped.kept, looped.rows
    if not kept:
        raise CoppiceError(
            f"training did not produce a single finite {side} log-loss from epoch {settings.choose_from} on, and "
            f"stopped in epoch {len(rows) - 1}; use a smaller learning_rate (it was {settings.learning_rate:g})."
        )
    states = [weights for _, weights in kept]
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
    if not math.isfinite(rows[-1][monitor]):
        stopped = f"{side} log-loss was not a number in epoch {len(rows) - 1}"
        say(f"{description}: {stopped}; the weights of epoch {kept[0][0]} are kept. Try a smaller learning_rate.")
    elif len(rows) == settings.epochs:
        stopped = "all epochs run"
    elif looped.reason is not None:
        stopped = looped.reason
    return Fitted(
        network=fitted.eval(),
        best_epoch=kept[0][0],
        epochs=len(rows),
        stopped=stopped,
        history=rows,
        precision=precision,
        soup=tuple(epoch for epoch, _ in kept) if len(states) > 1 else (),
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


def _epoch_macs(
    network: nn.Module, train: tuple[Inputs, Targets], validation: tuple[Inputs, Targets], settings: TrainingSettings
) -> int:
    """Return the MACs of an epoch where they decide when the fit ends, else 0."""
    if settings.stop is None:
        return 0
    with plain_out_of_memory(settings.batch_size):
        # Of a copy: networks that round keep ranges, which a pass in between could change.
        macs = count_macs(copy.deepcopy(network).float(), train[0][:1]).total
    return epoch_macs(macs, clips=len(train[1]), validation_clips=len(validation[1]))
