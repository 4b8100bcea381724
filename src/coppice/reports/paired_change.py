"""How much two stages differ on the same clips, with intervals over recordings."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from coppice.evaluation.bootstrap import grouped_resamples, interval
from coppice.evaluation.metrics import LOG_LOSS_EPS
from coppice.reports.measures import Interval
from coppice.reports.run_records import Prediction


@dataclass(frozen=True)
class PairedChange:
    """Change from one stage to another on the same clips; intervals are 95 % bootstrap over recordings.

    Attributes
    ----------
    accuracy_change : float in [-1, 1]
        Accuracy after minus accuracy before.
    log_loss_change : float or None
        Log-loss after minus before, in nats; None where the probabilities were not kept.
    lost, gained : int
        Clips that only the network before, or only the one after, classified correctly.
    """

    accuracy_change: float
    accuracy_interval: Interval
    log_loss_change: float | None
    log_loss_interval: Interval | None
    lost: int
    gained: int
    clips: int
    recordings: int


def paired_change(
    before: Sequence[Prediction], after: Sequence[Prediction], recordings: Mapping[str, str]
) -> PairedChange | None:
    """Compare two sets of predictions of the same clips.

    Clips cut from one recording are not independent, so whole recordings are drawn with replacement, and both
    networks are scored on the same draw.

    Parameters
    ----------
    before, after : sequence of Prediction
        Test side only.
    recordings : mapping
        Clip id → the recording it was cut from; a clip that is not in it counts as its own recording.

    Returns
    -------
    PairedChange or None
        None when the two do not cover the same clips.

    Examples
    --------
    >>> before = [Prediction(clip_id=str(i), label="rain", predicted="rain") for i in range(4)]
    >>> after = [*before[:3], Prediction(clip_id="3", label="rain", predicted="sea")]
    >>> change = paired_change(before, after, {})
    >>> change.accuracy_change, change.lost, change.gained
    (-0.25, 1, 0)
    """
    old = {row.clip_id: row for row in before}
    new = {row.clip_id: row for row in after}
    if not old or old.keys() != new.keys():
        return None
    groups = [recordings.get(clip_id) or f"clip {clip_id}" for clip_id in old]
    draws = grouped_resamples(groups)
    right = np.array([(new[c].predicted == new[c].label) - (row.predicted == row.label) for c, row in old.items()])
    losses = [(_loss(row), _loss(new[clip_id])) for clip_id, row in old.items()]
    loss = np.array([b - a for a, b in losses if a is not None and b is not None])
    whole = len(loss) == len(losses)
    return PairedChange(
        accuracy_change=float(right.mean()),
        accuracy_interval=interval(lambda drawn: float(right[drawn].mean()), draws),
        log_loss_change=float(loss.mean()) if whole else None,
        log_loss_interval=interval(lambda drawn: float(loss[drawn].mean()), draws) if whole else None,
        lost=int((right < 0).sum()),
        gained=int((right > 0).sum()),
        clips=len(old),
        recordings=len(set(groups)),
    )


def _loss(row: Prediction) -> float | None:
    return None if row.probability is None else -math.log(max(row.probability, LOG_LOSS_EPS))
