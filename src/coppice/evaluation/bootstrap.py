"""Confidence intervals by resampling whole recordings, since pieces of one recording rise and fall together."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int

from coppice.core.seeds import numpy_stream


def grouped_resamples(
    groups: Sequence[str], *, resamples: int = 1000, seed: int = 0
) -> list[Int[np.ndarray, " drawn"]]:
    """Draw recordings with replacement; return the clip indices of each draw.

    Parameters
    ----------
    groups : sequence of str
        The recording of each clip.
    resamples : int
        How many draws.
    seed : int
        Seed of the draws.

    Examples
    --------
    >>> draws = grouped_resamples(["a", "a", "b"], resamples=3)
    >>> all({0, 1} <= set(draw) or not {0, 1} & set(draw) for draw in draws)
    True
    """
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    members = [np.flatnonzero(group == index) for index in range(group.max() + 1)]
    random = numpy_stream(seed, "bootstrap")
    return [
        np.concatenate([members[index] for index in random.integers(len(members), size=len(members))])
        for _ in range(resamples)
    ]


def interval(
    score: Callable[[Int[np.ndarray, " drawn"]], float],
    draws: Sequence[Int[np.ndarray, " drawn"]],
    *,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return the percentile interval of a score over draws (Efron 1979).

    Parameters
    ----------
    score : callable
        Takes clip indices, returns the score of those clips.
    draws : sequence of int arrays
        From :func:`grouped_resamples`.
    level : float in (0, 1)
        Coverage.

    Examples
    --------
    >>> values = np.arange(100.0)
    >>> draws = grouped_resamples([str(i) for i in range(100)])
    >>> low, high = interval(lambda drawn: values[drawn].mean(), draws)
    >>> bool(low < values.mean() < high)
    True
    """
    scores: Float[np.ndarray, " draws"] = np.array([score(drawn) for drawn in draws])
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(scores, [tail, 100 - tail])
    return float(low), float(high)
