"""The verbs ``train`` and ``finetune``: from prepared clips to a classifier."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from lightning.pytorch.loggers import Logger
from torch import Tensor

from coppice.core.errors import CoppiceError
from coppice.core.files import whole_file
from coppice.core.global_seed import seed_global
from coppice.datasets.prepare import Prepared
from coppice.datasets.splits import subset
from coppice.networks.classifier import Classifier
from coppice.networks.registry import build_for_clips
from coppice.training.augment.build import build_augmenter
from coppice.training.devices.machines import ONE_DEVICE, Machines
from coppice.training.fit import Fitted, fit
from coppice.training.settings import TrainingSettings
from coppice.training.teacher import Teacher

_SAID = "teacher.npy"  # what a teacher says of the training clips, beside the resume point


def train(
    data: Prepared,
    *,
    network: str = "dcase2021",
    config: dict[str, Any] | None = None,
    settings: TrainingSettings | None = None,
    folder: Path | None = None,
    teacher: Teacher | None = None,
    normalisation: str = "bands",
    loggers: Sequence[Logger] = (),
    machines: Machines = ONE_DEVICE,
) -> Classifier:
    """Train a network from scratch.

    The normalisation is measured on the training clips, validation chooses the epoch, the test clips are not read.

    Parameters
    ----------
    data : Prepared
        From :func:`coppice.datasets.prepare.prepare`.
    network : str
        A registered architecture; its classes, bands and frames come from the data.
    config : dict, optional
        Its other arguments, such as ``{"widths": [16, 16, 32]}``.
    settings : TrainingSettings, optional
        How to fit.
    folder : Path, optional
        Leaves ``history.csv`` there and, until the end, the point from which an interrupted call goes on.
    teacher : Teacher, optional
        Whose posteriors are learnt beside the labels: a larger network, or an ensemble.
    normalisation : {"bands", "none"}
        Whether the network takes log-mel with mean 0 and standard deviation 1 in every band, or as it is.
    loggers : sequence of lightning.pytorch.loggers.Logger
        Get the settings, and what the history has of every epoch.
    machines : Machines
        Devices and machines that share every batch; docs/training.md. Several machines call this alike, and only the
        first one writes.

    Returns
    -------
    Classifier
        Its ``lineage`` says how it was trained.

    Raises
    ------
    CoppiceError
        For a network that does not fit the data, training that diverges, or devices that are not there.
    """
    settings = settings or TrainingSettings()
    if normalisation not in ("bands", "none"):
        raise CoppiceError(f"normalisation is {normalisation!r}; give bands or none.")
    bands, frames = data.front_end.shape
    mean, std = _measured_bands(data) if normalisation == "bands" else (torch.zeros(bands), torch.ones(bands))
    seed_global(settings.seed, "weights")
    classifier = Classifier(
        network=build_for_clips(
            network, **{**(config or {}), "classes": len(data.dataset.labels), "bands": bands, "frames": frames}
        ),
        front_end=data.front_end,
        labels=data.dataset.labels,
        band_mean=mean,
        band_std=std,
    )
    return _fit(
        classifier,
        data,
        settings,
        fraction=1.0,
        device=None,
        folder=folder,
        what="train",
        teacher=teacher,
        loggers=loggers,
        machines=machines,
    )


def finetune(
    classifier: Classifier,
    data: Prepared,
    *,
    settings: TrainingSettings | None = None,
    fraction: float = 1.0,
    device: str | None = None,
    folder: Path | None = None,
    teacher: Teacher | None = None,
    loggers: Sequence[Logger] = (),
    machines: Machines = ONE_DEVICE,
) -> Classifier:
    """Train on from the weights a classifier has, with a new optimizer.

    Parameters
    ----------
    classifier : Classifier
        Usually pruned; left as it is.
    data : Prepared
        With the front end and labels of the classifier. An imported classifier without a front end takes that of the
        data if the shapes agree; one without normalisation measures the bands of the training clips.
    settings : TrainingSettings, optional
        How to fit.
    fraction : float in (0, 1]
        Share of the training clips to use: stratified, seeded, whole recordings.
    device : str, optional
        Only clips of this recording device, for training and for validation.
    folder, teacher, loggers, machines : optional
        See :func:`train`.

    Returns
    -------
    Classifier
        New; the lineage has one more entry.

    Raises
    ------
    CoppiceError
        If data and classifier do not go together, training diverges, or devices are not there.
    """
    classifier = at_home_in(data, classifier)
    settings = settings or TrainingSettings()
    return _fit(
        classifier,
        data,
        settings,
        fraction=fraction,
        device=device,
        folder=folder,
        what="finetune",
        teacher=teacher,
        loggers=loggers,
        machines=machines,
    )


def at_home_in(data: Prepared, classifier: Classifier) -> Classifier:
    """Return a classifier that hears as the data was prepared; what an imported one does not know it takes from there.

    Raises
    ------
    CoppiceError
        If front end, labels or scores do not go together with the data.
    """
    if classifier.front_end is None and tuple(classifier.input_shape[1:]) == (1, *data.front_end.shape):
        classifier = replace(classifier, front_end=data.front_end)
    if data.front_end != classifier.front_end:
        raise CoppiceError(
            "the data was prepared with another front end than the classifier's; prepare it with "
            "front_end=classifier.front_end."
        )
    if classifier.score != "softmax":
        raise CoppiceError("this classifier tags (sigmoid scores); fine-tuning needs one class per clip (softmax).")
    if data.dataset.labels != classifier.labels:
        raise CoppiceError(
            f"the data's labels ({', '.join(data.dataset.labels)}) are not the classifier's "
            f"({', '.join(classifier.labels)})."
        )
    if classifier.band_mean is None:
        mean, std = _measured_bands(data)
        classifier = replace(classifier, band_mean=mean, band_std=std)
    return classifier


def _measured_bands(data: Prepared) -> tuple[Float[Tensor, " mels"], Float[Tensor, " mels"]]:
    norm = data.normalization()
    return torch.from_numpy(norm.mean).float(), torch.from_numpy(norm.std).float()


def _fit(
    classifier: Classifier,
    data: Prepared,
    settings: TrainingSettings,
    *,
    fraction: float,
    device: str | None,
    folder: Path | None,
    what: str,
    teacher: Teacher | None,
    loggers: Sequence[Logger],
    machines: Machines,
) -> Classifier:
    machines.check(settings.batch_size)
    rows, checked = data.split.train, data.split.validation
    if device is not None:
        rows = data.of_device("train", device)
        checked = data.of_device("validation", device) if len(checked) else checked
    if fraction != 1.0:
        rows = subset(rows, data.dataset, fraction=fraction, seed=settings.seed)

    def inputs(log_mel: Float[Tensor, "clips mels frames"]) -> Float[Tensor, "clips 1 mels frames"]:
        return classifier.normalise(log_mel)

    augmenter = build_augmenter(classifier, data, rows, settings)
    soft = None if teacher is None or not machines.leads else _soft_targets(teacher, classifier, data, rows, folder)
    fitted = fit(
        classifier.network,
        (inputs(data.log_mel("train", rows)), data.targets("train", rows)),
        (inputs(data.log_mel("validation", checked)), data.targets("validation", checked)),
        settings=settings,
        folder=folder if machines.leads else None,
        description={"train": "training", "finetune": "fine-tuning"}[what],
        soft=soft,
        teacher=teacher,
        augmenter=augmenter,
        loggers=loggers if machines.leads else (),
        machines=machines,
    )
    if folder is not None and machines.leads:
        with whole_file(folder / "history.csv") as temporary:
            pd.DataFrame(fitted.history).to_csv(temporary, index=False)
        for name in ("resume.ckpt", _SAID):
            (folder / name).unlink(missing_ok=True)
    more: dict[str, Any] = {}
    if teacher is not None:
        more |= {"teacher": teacher.to_dict(), "teacher_macs": teacher.macs}
    if device is not None:
        more["device"] = device
    return classifier.after(
        fitted.network,
        verb=what,
        fraction=fraction,
        clips=len(rows),
        validation_clips=len(checked),
        settings=settings.to_dict(),
        **more,
        **_summary(fitted),
    )


def _soft_targets(
    teacher: Teacher, student: Classifier, data: Prepared, rows: Int[np.ndarray, " clips"], folder: Path | None
) -> Float[Tensor, "clips classes"]:
    """Return what a teacher says; asked once for each stage, whatever interrupts it."""
    if folder is None:
        return teacher.soft_targets(student, data, rows)
    path = folder / _SAID
    if path.exists():
        teacher.check(student)
        said = np.load(path, allow_pickle=False)
        if said.shape == (len(rows), len(student.labels)) and said.dtype == np.float32:
            return torch.from_numpy(said)
    soft = teacher.soft_targets(student, data, rows)
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, soft.numpy(), allow_pickle=False)
    return soft


def _summary(fitted: Fitted) -> dict[str, Any]:
    soup = {"soup": list(fitted.soup)} if fitted.soup else {}
    return {
        "best_epoch": fitted.best_epoch,
        "epochs": fitted.epochs,
        "stopped": fitted.stopped,
        "precision": fitted.precision.name,
        "precision_reason": fitted.precision.reason,
        **soup,
    }
