"""How much of a plane a Pareto front covers: one number for how good a set of networks is."""

import numpy as np

from coppice.reports.pareto_front import Values, pareto_front


def hypervolume(costs: Values, scores: Values, *, higher: bool, reference: tuple[float, float]) -> float:
    """Return the area that is dominated by points and better than a reference in both directions.

    Parameters
    ----------
    costs : float array
        Less is better; NaN for a point that was not measured.
    scores : float array
        Of the same points.
    higher : bool
        Whether a higher score is better.
    reference : (float, float)
        A cost and a score that count as useless; points that are no better in one of the two add nothing.

    Returns
    -------
    float
        In units of cost times score.

    Examples
    --------
    >>> hypervolume(np.array([1.0, 2.0]), np.array([0.5, 0.75]), higher=True, reference=(4.0, 0.25))
    1.25
    """
    sign = 1.0 if higher else -1.0
    costs, gains = np.asarray(costs, dtype=np.float64), sign * np.asarray(scores, dtype=np.float64)
    cost, gain = float(reference[0]), sign * float(reference[1])
    front = pareto_front(costs, gains, higher=True) & (costs < cost) & (gains > gain)
    order = np.argsort(costs[front], kind="stable")
    edges, heights = costs[front][order], gains[front][order] - gain
    return float(np.sum(np.diff(np.append(edges, cost)) * heights))
