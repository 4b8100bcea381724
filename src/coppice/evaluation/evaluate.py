"""All scores of a classifier on a set of clips, and the file of its predictions."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from coppice.core.errors import CoppiceError
from coppice.core.files import whole_file
from coppice.core.progress import progress_bar
from coppice.datasets.features import clip_waveform
from coppice.evaluation import metrics
from coppice.evaluation.bootstrap import grouped_resamples, interval
from coppice.evaluation.hears import Hears

RESAMPLES = 1000
_AT_ONCE = 16


class Scored(Hears, Protocol):
    """What can be scored: what listens, and takes log-mel as well."""

    @property
    def score(self) -> str:
        """How logits become posteriors: ``softmax`` or ``sigmoid``."""

    def posteriors(self, log_mel: Float[Tensor, "clips mels frames"]) -> Float[Tensor, "clips classes"]:
        """Return the class probabilities of log-mel that is not normalised, as float64."""


def evaluate(
    classifier: Scored,
    log_mel: Float[Tensor, "clips mels frames"],
    clips: pd.DataFrame,
    *,
    devices: Mapping[str, Scored] | None = None,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Score a classifier on clips.

    Parameters
    ----------
    classifier : Classifier or OnnxClassifier
        Left as it is.
    log_mel : Tensor [shape=(clips, mels, frames)], nats
        Features of the clips, not normalised.
    clips : DataFrame
        One row per clip with ``clip_id``, ``label``, ``recording`` and, where known, ``device``.
    devices : mapping, optional
        Recording device -> the classifier that hears its clips, in place of the first one, as in DCASE 2025.

    Returns
    -------
    scores : dict
        ``accuracy``, ``macro_accuracy`` (in [0, 1]), ``log_loss`` (nats, float64), each with ``*_interval``
        (95 % bootstrap over recordings), ``per_class``, ``per_device`` (None where no device is known),
        ``confusion`` (rows true, columns predicted), and the conventions.
    predictions : DataFrame
        One row per clip: true and predicted label and one posterior per class.

    Raises
    ------
    CoppiceError
        If there are no clips, a label is not one of the classifier's, a posterior is not a number, or a device's
        classifier hears or scores in another way.
    """
    if len(clips) != len(log_mel):
        raise CoppiceError(f"{len(clips)} clips do not go with {len(log_mel)} log-mels; give one for each clip.")
    for name, one in (devices or {}).items():
        alike = one.labels == classifier.labels and one.score == classifier.score
        if not alike or one.known_front_end() != classifier.known_front_end():
            raise CoppiceError(
                f"the model for device {name!r} has other labels or another front end than the first one."
            )

    def heard() -> Tensor:
        posteriors = classifier.posteriors(log_mel)
        for name, one in (devices or {}).items():
            rows = torch.from_numpy((clips["device"] == name).fillna(False).to_numpy(dtype=bool, copy=True))
            if rows.any():
                posteriors[rows] = one.posteriors(log_mel[rows])
        return posteriors

    return _evaluated(classifier, heard, clips)


def evaluate_sounds(classifier: Scored, clips: pd.DataFrame) -> tuple[dict[str, Any], pd.DataFrame]:
    """Score a classifier on clips that it hears as waveforms, as one must whose front end is inside its file.

    Parameters
    ----------
    classifier : Classifier or OnnxClassifier
        Left as it is.
    clips : DataFrame
        As for :func:`evaluate`, and with ``file``, ``start_s`` and ``duration_s``; the sounds are decoded again.

    Returns
    -------
    scores, predictions
        See :func:`evaluate`.

    Raises
    ------
    CoppiceError
        As :func:`evaluate`, or if a clip cannot be read.
    """

    def heard() -> Tensor:
        front_end, rows, parts = classifier.known_front_end(), clips.to_dict("records"), []
        with progress_bar("clips", len(rows), after_s=1.0) as advance:
            for start in range(0, len(rows), _AT_ONCE):
                some = [clip_waveform(row, front_end)[0] for row in rows[start : start + _AT_ONCE]]
                parts.append(classifier.posteriors_of_waveforms(torch.from_numpy(np.stack(some))))
                advance(len(some), "")
        return torch.cat(parts)

    return _evaluated(classifier, heard, clips)


def _evaluated(
    classifier: Scored, posteriors_of: Callable[[], Tensor], clips: pd.DataFrame
) -> tuple[dict[str, Any], pd.DataFrame]:
    if not len(clips):
        raise CoppiceError("there are no clips to evaluate on.")
    if classifier.score != "softmax":
        raise CoppiceError(
            "this classifier tags: each class has a posterior of its own, and accuracy and log-loss need one class "
            "per clip; fine-tune it on labelled clips, or use classify."
        )
    unknown = sorted(set(clips["label"]) - set(classifier.labels))
    if unknown:
        raise CoppiceError(
            f"the clips have the label {unknown[0]!r}, which this classifier does not know; its labels are "
            + ", ".join(classifier.labels)
            + "."
        )
    posteriors = posteriors_of().numpy()
    if not np.isfinite(posteriors).all():
        row = int(np.flatnonzero(~np.isfinite(posteriors).all(axis=1))[0])
        raise CoppiceError(
            f"the network's output for clip {clips['clip_id'].iloc[row]!r} is not a number; train again with a "
            "smaller learning rate."
        )
    targets = np.array([classifier.labels.index(label) for label in clips["label"]])
    return scores(posteriors, targets, clips, classifier.labels), _predictions(posteriors, clips, classifier.labels)


def scores(
    posteriors: Float[np.ndarray, "clips classes"],
    targets: np.ndarray,
    clips: pd.DataFrame,
    labels: tuple[str, ...],
) -> dict[str, Any]:
    """Return the scores of posteriors that are already there (see :func:`evaluate`)."""
    draws = grouped_resamples(clips["recording"].astype(str).tolist(), resamples=RESAMPLES)

    def with_interval(name: str, score: Any) -> dict[str, Any]:
        low, high = interval(lambda drawn: score(posteriors[drawn], targets[drawn]), draws)
        return {name: score(posteriors, targets), f"{name}_interval": [low, high]}

    devices = clips["device"] if "device" in clips and clips["device"].notna().any() else None
    return {
        "clips": len(clips),
        "recordings": int(clips["recording"].nunique()),
        **with_interval("accuracy", metrics.accuracy),
        **with_interval("macro_accuracy", metrics.macro_accuracy),
        **with_interval("log_loss", metrics.log_loss),
        "log_loss_eps": metrics.LOG_LOSS_EPS,
        "interval": f"95 % bootstrap over recordings, {RESAMPLES} resamples",
        "labels": list(labels),
        "confusion": metrics.confusion_matrix(posteriors, targets).tolist(),
        "per_class": {
            label: _part(posteriors, targets, targets == index)
            for index, label in enumerate(labels)
            if (targets == index).any()
        },
        "per_device": None
        if devices is None
        else {
            str(device): _part(posteriors, targets, (devices == device).to_numpy(dtype=bool, na_value=False))
            for device in sorted(devices.dropna().unique())
        },
    }


def _part(posteriors: np.ndarray, targets: np.ndarray, chosen: np.ndarray) -> dict[str, Any]:
    return {
        "clips": int(chosen.sum()),
        "accuracy": metrics.accuracy(posteriors[chosen], targets[chosen]),
        "log_loss": metrics.log_loss(posteriors[chosen], targets[chosen]),
    }


def _predictions(posteriors: np.ndarray, clips: pd.DataFrame, labels: tuple[str, ...]) -> pd.DataFrame:
    table = clips[["clip_id", "label"]].reset_index(drop=True)
    table["predicted"] = [labels[index] for index in posteriors.argmax(axis=1)]
    columns = pd.DataFrame(posteriors, columns=[f"p_{label}" for label in labels])
    return pd.concat([table, columns], axis=1)


def write_predictions(predictions: pd.DataFrame, path: Path) -> None:
    """Write the predictions as CSV, whole; posteriors keep 17 digits, so that scores can be computed again."""
    with whole_file(path) as temporary:
        predictions.to_csv(temporary, index=False, float_format="%.17g")


def as_features(array: Float[np.ndarray, "clips mels frames"], rows: np.ndarray) -> Float[Tensor, "rows mels frames"]:
    """Copy rows of the feature store into memory as a tensor."""
    return torch.from_numpy(np.array(array[rows]))
