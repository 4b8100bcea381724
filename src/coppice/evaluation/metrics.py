"""Scores of a set of posteriors, as pure functions in float64."""

import numpy as np
from jaxtyping import Float, Int

LOG_LOSS_EPS = 1e-15

Posteriors = Float[np.ndarray, "clips classes"]
Targets = Int[np.ndarray, " clips"]


def accuracy(posteriors: Posteriors, targets: Targets) -> float:
    """Return the share of clips whose largest posterior is at the right class, in [0, 1].

    Examples
    --------
    >>> accuracy(np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([0, 1]))
    0.5
    """
    return float((posteriors.argmax(axis=1) == targets).mean())


def log_losses(posteriors: Posteriors, targets: Targets) -> Float[np.ndarray, " clips"]:
    """Return the natural-log loss of each clip, in nats.

    Posteriors are clipped from below at :data:`LOG_LOSS_EPS` (1e-15), so that a hard zero costs 34.5 nats and not
    infinity, and are not rescaled.
    """
    chosen = posteriors[np.arange(len(targets)), targets].astype(np.float64)
    return -np.log(np.clip(chosen, LOG_LOSS_EPS, None))


def log_loss(posteriors: Posteriors, targets: Targets) -> float:
    """Return the mean of :func:`log_losses`, in nats.

    Examples
    --------
    >>> round(log_loss(np.array([[0.5, 0.5]]), np.array([0])), 4)
    0.6931
    """
    return float(log_losses(posteriors, targets).mean())


def confusion_matrix(posteriors: Posteriors, targets: Targets) -> Int[np.ndarray, "classes classes"]:
    """Count clips by true class (rows) and predicted class (columns).

    Examples
    --------
    >>> confusion_matrix(np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([0, 1])).tolist()
    [[1, 0], [1, 0]]
    """
    classes = posteriors.shape[1]
    flat = np.bincount(targets * classes + posteriors.argmax(axis=1), minlength=classes * classes)
    return flat.reshape(classes, classes)


def macro_accuracy(posteriors: Posteriors, targets: Targets) -> float:
    """Return the mean over classes of each class' accuracy (the DCASE challenge's accuracy), in [0, 1].

    Classes without a clip are left out.

    Examples
    --------
    >>> macro_accuracy(np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]]), np.array([0, 0, 1]))
    0.5
    """
    matrix = confusion_matrix(posteriors, targets)
    present = matrix.sum(axis=1) > 0
    return float((matrix.diagonal()[present] / matrix.sum(axis=1)[present]).mean())
