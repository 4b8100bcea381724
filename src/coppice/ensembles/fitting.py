"""Weights and temperature with the lowest log-loss on validation clips."""

from typing import Any

import numpy as np
from jaxtyping import Float64, Int
from scipy.optimize import minimize

from coppice.core.errors import CoppiceError
from coppice.ensembles.combination import SMALLEST, Combination, Stacked, probabilities

STRENGTH = 30.0
_COLDEST, _HOTTEST = 0.05, 20.0
_FAR = 30.0


def fit_combination(
    members: Stacked,
    targets: Int[np.ndarray, " clips"],
    *,
    how: str = "arithmetic",
    weights: bool = True,
    temperature: bool = False,
    strength: float = STRENGTH,
) -> Combination:
    """Fit weights, a temperature, or both, by the log-loss.

    The log-loss is minimised together with ``strength / clips`` times the divergence (Kullback and Leibler) of the
    weights from equal ones and half the square of the temperature's logarithm, so that few clips leave the weights
    equal and the temperature at 1, and many may move them; by L-BFGS with exact gradients, in coordinates whose softmax
    the weights are. One temperature serves the whole ensemble (Guo et al., ICML 2017).

    Parameters
    ----------
    members : ndarray, shape (members, clips, classes)
        Posteriors on validation clips. Fitted on test clips, the score on these clips means nothing.
    targets : ndarray of int, shape (clips,)
        The right classes.
    how : {"arithmetic", "geometric"}
        See :class:`coppice.ensembles.combination.Combination`.
    weights, temperature : bool
        What to fit; the weights are equal and the temperature is 1 otherwise.
    strength : float >= 0
        How strongly weights are held equal and the temperature at 1: as if so many more clips said so.

    Returns
    -------
    Combination

    Raises
    ------
    CoppiceError
        If there is no clip, a target is no class, or the strength is negative.

    Examples
    --------
    >>> right, poor = np.tile([[0.9, 0.1]], (50, 1)), np.tile([[0.5, 0.5]], (50, 1))
    >>> found = fit_combination(np.stack([right, poor]), np.zeros(50, dtype=int), strength=0)
    >>> found.weights[0] > 0.99
    True
    """
    rule = Combination.equal(len(members), how=how)
    clips = members.shape[1]
    if not clips or len(targets) != clips:
        raise CoppiceError(f"{clips} clips and {len(targets)} labels do not go together; give one label for each clip.")
    if targets.min() < 0 or targets.max() >= members.shape[2]:
        raise CoppiceError(f"the labels run up to class {targets.max()}, but there are {members.shape[2]} classes.")
    if not 0 <= strength < float("inf"):
        raise CoppiceError(f"the strength is {strength!r}; give a number from 0 upwards, such as {STRENGTH:g}.")
    count = len(members) if weights and len(members) > 1 else 0
    if not (count or temperature):
        return rule
    loss = _Loss(members, targets, how, strength=strength, plain=how == "arithmetic" and not temperature)

    def objective(free: Float64[np.ndarray, " free"]) -> tuple[float, Any]:
        scores, inverse = free[:count], float(np.exp(-free[count])) if temperature else 1.0
        now = probabilities(scores[None])[0] if count else np.asarray(rule.weights)
        value, by_weight, by_inverse = loss(now, inverse)
        gradient = [now * (by_weight - now @ by_weight)] if count else []
        return value, np.concatenate([*gradient, [-inverse * by_inverse]] if temperature else gradient)

    bounds = [(-_FAR, _FAR)] * count + [(np.log(_COLDEST), np.log(_HOTTEST))] * temperature
    found = minimize(
        objective,
        np.zeros(count + temperature),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": 500, "ftol": 1e-13, "gtol": 1e-8},
    )
    fitted = probabilities(found.x[None, :count])[0] if count else np.asarray(rule.weights)
    hot = float(np.exp(found.x[count])) if temperature else 1.0
    return Combination(tuple((fitted / fitted.sum()).tolist()), how=how, temperature=hot)


class _Loss:
    """The penalised log-loss of weights and an inverse temperature, with its gradient."""

    def __init__(
        self, members: Stacked, targets: Int[np.ndarray, " clips"], how: str, *, strength: float, plain: bool
    ) -> None:
        count, clips, _ = members.shape
        self.arithmetic, self.plain = how == "arithmetic", plain
        self.rows, self.targets = np.arange(clips), targets
        kept = np.clip(members, SMALLEST, None)
        self.members = kept if self.arithmetic else np.log(kept)
        self.pull, self.count = strength / clips, count

    def __call__(
        self, weights: Float64[np.ndarray, " members"], inverse: float
    ) -> tuple[float, Float64[np.ndarray, " members"], float]:
        mean = np.tensordot(weights, self.members, axes=1)
        if self.plain:  # a mean of rows that sum to 1 sums to 1
            right = mean[self.rows, self.targets]
            loss, by_inverse = -np.log(right).mean(), 0.0
            by_weight = -(self.members[:, self.rows, self.targets] / right).mean(axis=1)
        else:
            logits = np.log(mean) if self.arithmetic else mean
            softened = probabilities(inverse * logits)
            loss = -np.log(np.clip(softened[self.rows, self.targets], SMALLEST, None)).mean()
            off = softened.copy()
            off[self.rows, self.targets] -= 1
            off /= len(self.rows)
            by_inverse = float((off * logits).sum())
            slope = inverse * off / mean if self.arithmetic else inverse * off
            by_weight = np.tensordot(self.members, slope, axes=([1, 2], [0, 1]))
        if not self.plain:
            by_inverse += self.pull * np.log(inverse) / inverse
            loss += self.pull * np.log(inverse) ** 2 / 2
        spread = weights * self.count
        divergence = float(weights @ np.log(np.clip(spread, 1e-300, None)))
        by_weight = by_weight + self.pull * (np.log(np.clip(spread, 1e-300, None)) + 1)
        return float(loss) + self.pull * divergence, by_weight, by_inverse
