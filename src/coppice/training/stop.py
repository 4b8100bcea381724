"""When a fit is no longer worth what it takes: the gain in validation log-loss that further MACs promise."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

from coppice.core.errors import CoppiceError

TERA = 1e12


@dataclass(frozen=True)
class Stop:
    """A price: what a lower validation log-loss may cost.

    Attributes
    ----------
    gain_per_tmac : float >= 0
        Stop when 10^12 further MACs promise to lower the validation log-loss by less than so many nats; 0: when they
        promise nothing. MACs count as :func:`coppice.complexity.fit_macs.epoch_macs` says.
    window : int >= 3
        How many of the newest epochs the estimate is made from; before there are so many the fit goes on.

    Examples
    --------
    >>> Stop(gain_per_tmac=-1)
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: stop.gain_per_tmac is -1; give nats of validation log-loss for 10^12 MACs, such as
    0.1, or 0 to stop when nothing more is to be gained.
    """

    gain_per_tmac: float
    window: int = 20

    def __post_init__(self) -> None:
        gain, window = self.gain_per_tmac, self.window
        if not isinstance(gain, int | float) or isinstance(gain, bool) or not 0 <= gain < math.inf:
            raise CoppiceError(
                f"stop.gain_per_tmac is {gain!r}; give nats of validation log-loss for 10^12 MACs, such as 0.1, or 0 "
                "to stop when nothing more is to be gained."
            )
        if not isinstance(window, int) or isinstance(window, bool) or window < 3:
            raise CoppiceError(f"stop.window is {window!r}; give a whole number of epochs from 3 upwards.")

    def expected_gain(self, losses: Sequence[float], macs: int) -> float | None:
        """Return the nats that 10^12 further MACs promise; None before there are enough epochs.

        Parameters
        ----------
        losses : sequence of float
            Validation log-loss of every epoch so far.
        macs : int
            Of one epoch.

        Examples
        --------
        >>> Stop(0.01, window=3).expected_gain([1.0, 0.75, 0.5], macs=500_000_000_000)
        0.5
        """
        if len(losses) < self.window or not all(map(math.isfinite, losses[-self.window :])):
            return None
        return -median_slope(losses[-self.window :]) * TERA / macs

    def is_due(self, losses: Sequence[float], macs: int) -> bool:
        """Say whether the fit is to end after the newest epoch; see :meth:`expected_gain`."""
        gain = self.expected_gain(losses, macs)
        return gain is not None and gain < self.gain_per_tmac


def median_slope(values: Sequence[float]) -> float:
    """Return the median of the slopes between all pairs of values, one epoch apart each.

    The estimator of Theil (1950) and Sen (1968).

    Examples
    --------
    >>> median_slope([1.0, 0.75, 9.0, 0.25, 0.0])
    -0.25
    """
    pairs = combinations(enumerate(values), 2)
    return median((later - earlier) / (after - before) for (before, earlier), (after, later) in pairs)
