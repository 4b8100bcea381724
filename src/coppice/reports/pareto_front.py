"""The Pareto front: the networks that no other one beats in cost and score at once."""

import numpy as np
from jaxtyping import Bool, Float

Values = Float[np.ndarray, " points"]
Mask = Bool[np.ndarray, " points"]


def pareto_front(costs: Values, scores: Values, *, higher: bool) -> Mask:
    """Tell which points are on the front.

    A point is off the front if another one costs no more, scores no worse, and is better in one of the two. Points
    that are equal in both share the front.

    Parameters
    ----------
    costs : float array
        Less is better; NaN for a point that was not measured, which is then on no front.
    scores : float array
        Of the same points; NaN as above.
    higher : bool
        Whether a higher score is better.

    Returns
    -------
    bool array

    Examples
    --------
    >>> pareto_front(np.array([1.0, 2, 2, 3]), np.array([0.7, 0.8, 0.75, 0.8]), higher=True).tolist()
    [True, True, False, False]
    """
    gains = np.asarray(scores if higher else -np.asarray(scores), dtype=np.float64)
    costs = np.asarray(costs, dtype=np.float64)
    known = np.isfinite(costs) & np.isfinite(gains)
    front = np.zeros(len(costs), dtype=bool)
    if not known.any():
        return front
    at = np.flatnonzero(known)
    levels, level = np.unique(costs[at], return_inverse=True)
    best = np.full(len(levels), -np.inf)
    np.maximum.at(best, level, gains[at])
    cheaper = np.concatenate([[-np.inf], np.maximum.accumulate(best)[:-1]])
    front[at] = (gains[at] == best[level]) & (best > cheaper)[level]
    return front
