"""Is a difference over folds more than chance: the corrected resampled t-test, and Holm's correction of many."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import stdtr, stdtrit  # Student's t alone: scipy.stats takes a second to load

LEVEL = 0.95
_EQUAL = 1e-12  # differences that lie closer than this are equal, but for rounding

Numbers = Float[np.ndarray, " numbers"]


@dataclass(frozen=True)
class PairedTest:
    """A mean of differences, and what can be said about it.

    Attributes
    ----------
    mean : float
        Mean of the differences.
    interval : (float, float) or None
        95 % interval; None for fewer than two differences, or where all are equal and not zero.
    p_value : float or None
        Two-sided, of no difference; None where there is no interval.
    n : int
        How many differences.
    """

    mean: float
    interval: tuple[float, float] | None
    p_value: float | None
    n: int


def corrected_t_test(differences: Sequence[float], *, overlap: float) -> PairedTest:
    """Test whether the mean of differences over folds is zero.

    The corrected resampled t-test of Nadeau and Bengio ("Inference for the generalization error", Machine Learning 52,
    2003): networks of different folds are trained on much the same clips, so their differences vary less than those of
    independent experiments would. The variance of the mean is therefore taken as (1/n + n_test/n_train) · s², and not
    as s²/n. It assumes differences that are about normal, and that the overlap of training sets is all that couples
    them.

    Parameters
    ----------
    differences : sequence of float
        One per fold, such as accuracy with one criterion minus accuracy with another on the same fold.
    overlap : float >= 0
        n_test/n_train: 1/(k − 1) for k folds; 0 gives the ordinary paired t-test.

    Returns
    -------
    PairedTest
        With n − 1 degrees of freedom. All differences zero: p is 1. All equal and not zero: there is no estimate of
        chance, and so neither interval nor p.

    Examples
    --------
    >>> test = corrected_t_test([0.01, 0.03, 0.02, 0.05, -0.01], overlap=1 / 4)
    >>> round(test.mean, 3), round(test.p_value, 3), [round(end, 3) for end in test.interval]
    (0.02, 0.253, [-0.022, 0.062])
    """
    values = np.asarray(differences, dtype=np.float64)
    n = len(values)
    if n == 0:
        return PairedTest(float("nan"), None, None, 0)
    mean = float(values.mean())
    if n == 1:
        return PairedTest(mean, None, None, 1)
    if float(np.ptp(values)) < _EQUAL:
        same = abs(mean) < _EQUAL
        return PairedTest(mean, (0.0, 0.0) if same else None, 1.0 if same else None, n)
    deviation = float(values.std(ddof=1))
    half = float(t_half_width(np.array([deviation]), np.array([n]), overlap=overlap)[0])
    statistic = mean / (deviation * (1 / n + overlap) ** 0.5)
    p_value = float(2 * stdtr(n - 1, -abs(statistic)))
    return PairedTest(mean, (mean - half, mean + half), p_value, n)


def t_half_width(deviations: Numbers, counts: Numbers, *, overlap: float) -> Numbers:
    """Return half the length of the 95 % t interval of each mean; NaN for a mean of fewer than two.

    Parameters
    ----------
    deviations : float array
        Standard deviations of what was averaged, with n − 1.
    counts : array
        How many were averaged.
    overlap : float >= 0
        See :func:`corrected_t_test`.

    Examples
    --------
    >>> t_half_width(np.array([1.0, 1.0]), np.array([5, 1]), overlap=0.0).round(4).tolist()
    [1.2417, nan]
    """
    counts = np.asarray(counts, dtype=np.float64)
    known = np.where(counts >= 2, counts, np.nan)
    quantile = stdtrit(known - 1, 0.5 + LEVEL / 2)
    return np.asarray(quantile * deviations * np.sqrt(1 / known + overlap))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values of several tests so that the chance of even one false alarm stays below the level.

    Holm, "A simple sequentially rejective multiple test procedure" (Scandinavian Journal of Statistics 6, 1979): the
    smallest of m is multiplied by m, the next by m − 1, and so on; none becomes smaller than the one before.

    Parameters
    ----------
    p_values : sequence of float in [0, 1]
        Of all tests of the family, in any order.

    Returns
    -------
    list of float
        In the order given, at most 1.

    Examples
    --------
    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03, 0.005])]
    [0.03, 0.06, 0.06, 0.02]
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in corrected]
