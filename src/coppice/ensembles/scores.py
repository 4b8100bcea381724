"""Accuracy and log-loss, together."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.evaluation import metrics

BY = ("log_loss", "macro_accuracy")


@dataclass(frozen=True)
class Scores:
    """Scores of posteriors.

    Attributes
    ----------
    macro_accuracy : float
        Mean over classes of each class' accuracy, 0 to 1.
    log_loss : float
        In nats.
    """

    macro_accuracy: float
    log_loss: float


def scores_of(posteriors: Float64[np.ndarray, "clips classes"], targets: Int[np.ndarray, " clips"]) -> Scores:
    """Score posteriors.

    Examples
    --------
    >>> scores_of(np.array([[0.5, 0.5]]), np.array([0]))
    Scores(macro_accuracy=1.0, log_loss=0.6931471805599453)
    """
    return Scores(metrics.macro_accuracy(posteriors, targets), metrics.log_loss(posteriors, targets))


def check_by(by: str) -> None:
    """Refuse a score that members cannot be chosen by.

    Raises
    ------
    CoppiceError
        If there is no such score.

    Examples
    --------
    >>> check_by("accuracy")
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: members cannot be chosen by 'accuracy'. Did you mean 'macro_accuracy'?
    """
    if by not in BY:
        raise CoppiceError(f"members cannot be chosen by {by!r}. {did_you_mean(str(by), BY)}")
