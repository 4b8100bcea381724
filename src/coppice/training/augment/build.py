"""From settings to an augmenter: impulse responses found, features of copies computed."""

from dataclasses import replace

import numpy as np
from jaxtyping import Int

from coppice.audio.impulse_responses import open_impulse_responses
from coppice.datasets.device_copies import device_copies, enough_responses
from coppice.datasets.prepare import Prepared
from coppice.networks.classifier import Classifier
from coppice.training.augment.augmenter import Augmenter
from coppice.training.augment.device_ir import DeviceCopies
from coppice.training.augment.settings import DeviceIR
from coppice.training.settings import TrainingSettings


def build_augmenter(
    classifier: Classifier, data: Prepared, rows: Int[np.ndarray, " clips"], settings: TrainingSettings
) -> Augmenter | None:
    """Return what augments training clips as the settings say, with the features of their copies; None for nothing.

    Parameters
    ----------
    classifier : Classifier
        Whose inputs are augmented.
    data : Prepared
        The clips.
    rows : ndarray of int
        Which of them are trained on, in their order.
    settings : TrainingSettings
        Of the fit.

    Raises
    ------
    CoppiceError
        If an augmentation cannot be had, such as without impulse responses.
    """
    said = settings.augment
    if said is None or classifier.band_mean is None or classifier.band_std is None:
        return None
    plain = Augmenter(said, data.front_end, classifier.band_mean, classifier.band_std, seed=settings.seed)
    if said.device_ir is None:
        return plain
    return replace(plain, copies=_copies(said.device_ir, data, rows, settings.seed))


def check_augmentation(classifier: Classifier, data: Prepared, settings: TrainingSettings) -> None:
    """Refuse what :func:`build_augmenter` would refuse, without computing anything.

    Raises
    ------
    CoppiceError
        If an augmentation cannot be had.
    """
    said = settings.augment
    if said is None or classifier.band_mean is None or classifier.band_std is None:
        return
    Augmenter(said, data.front_end, classifier.band_mean, classifier.band_std)
    if said.device_ir is not None:
        enough_responses(open_impulse_responses(said.device_ir.folder), said.device_ir.copies)
        for device in said.device_ir.devices or ():
            data.of_device("train", device)


def _copies(said: DeviceIR, data: Prepared, rows: Int[np.ndarray, " clips"], seed: int) -> DeviceCopies:
    responses = open_impulse_responses(said.folder)
    places = np.arange(len(rows))
    if said.devices is not None:
        wanted = np.concatenate([data.of_device("train", device) for device in said.devices])
        places = places[np.isin(rows, wanted)]
    stored = device_copies(data.dataset, rows[places], data.front_end, responses, copies=said.copies, seed=seed)
    first = {int(place): number * said.copies for number, place in enumerate(places)}
    return DeviceCopies(stored, first, said.copies)
