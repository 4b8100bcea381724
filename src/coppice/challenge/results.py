"""Scores on the development set, as the meta file of a submission wants them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from coppice.challenge.posteriors import devices_of, read_posteriors
from coppice.challenge.rules import DEVICES, SCENES
from coppice.core.errors import CoppiceError
from coppice.evaluation.metrics import accuracy, log_loss, macro_accuracy


def development_results(
    posteriors: Float[np.ndarray, "clips 10"], targets: Int[np.ndarray, " clips"], devices: Sequence[str]
) -> dict[str, Any]:
    """Score predictions of the development test clips: overall, by class and by recording device.

    Overall accuracy is the mean of the classes' accuracies, overall log-loss the mean over all clips, as the
    baselines compute them; a device's accuracy is its share of right clips.

    Parameters
    ----------
    posteriors : ndarray, shape (clips, 10)
        Scenes in alphabetical order.
    targets : ndarray of int, shape (clips,)
    devices : sequence of str
        One for each clip.

    Returns
    -------
    dict
        ``overall``, ``class_wise`` and ``device_wise``, each with ``accuracy`` in percent and ``logloss`` in nats.

    Raises
    ------
    CoppiceError
        If a scene or a device has no clip.

    Examples
    --------
    >>> scores = development_results(np.eye(10)[[0, 1] * 45], np.arange(90) % 10, DEVICES * 10)
    >>> scores["overall"]["accuracy"], scores["class_wise"]["airport"]["accuracy"]
    (20.0, 100.0)
    """
    given = np.array(devices)
    parts = {
        "class_wise": {scene: targets == index for index, scene in enumerate(SCENES)},
        "device_wise": {device: given == device for device in DEVICES},
    }
    for kind, masks in parts.items():
        for name, mask in masks.items():
            if not mask.any():
                raise CoppiceError(
                    f"there is no development clip of {'scene' if kind == 'class_wise' else 'device'} {name!r}; the "
                    "results need the official test clips."
                )

    def scores(mask: Bool[np.ndarray, " clips"]) -> dict[str, float]:
        return {
            "logloss": round(log_loss(posteriors[mask], targets[mask]), 4),
            "accuracy": round(100 * accuracy(posteriors[mask], targets[mask]), 4),
        }

    overall = {
        "logloss": round(log_loss(posteriors, targets), 4),
        "accuracy": round(100 * macro_accuracy(posteriors, targets), 4),
    }
    return {
        "overall": overall,
        **{kind: {name: scores(mask) for name, mask in masks.items()} for kind, masks in parts.items()},
    }


def results_of(path: Path) -> dict[str, Any]:
    """Score a file of predictions of the development test clips.

    Raises
    ------
    CoppiceError
        If it cannot be read, or has no labels or unknown devices.
    """
    found = read_posteriors(path)
    if found.targets is None:
        raise CoppiceError(f"{path} has no column 'label'; the results on the development set need the right scenes.")
    return development_results(found.values, found.targets, devices_of(found, path))


def no_results() -> dict[str, Any]:
    """Return results of which none is known, as 2025 takes them.

    Examples
    --------
    >>> no_results()["overall"]
    {'logloss': None, 'accuracy': None}
    """
    parts = {"class_wise": SCENES, "device_wise": DEVICES}
    nothing = {"logloss": None, "accuracy": None}
    return {
        "overall": dict(nothing),
        **{part: {name: dict(nothing) for name in names} for part, names in parts.items()},
    }
