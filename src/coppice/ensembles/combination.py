"""How the posteriors of several networks become one: mean, weights, temperature."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from coppice.core.errors import CoppiceError, did_you_mean

HOW = ("arithmetic", "geometric")
SMALLEST = 1e-15  # posteriors below are taken for it where logarithms are: that of the log-loss

Stacked = Float64[np.ndarray, "members clips classes"]


@dataclass(frozen=True)
class Combination:
    """A rule that makes one posterior of several.

    Attributes
    ----------
    weights : tuple of float
        One for each member, 0 for one that has no say; they sum to 1.
    how : {"arithmetic", "geometric"}
        Weighted mean of the posteriors, or of their logarithms (with rows that sum to 1 again).
    temperature : float > 0
        The combined posteriors are raised to the power 1 / temperature and sum to 1 again: above 1 they become
        more careful, below 1 more decided. The largest stays the largest.

    Raises
    ------
    CoppiceError
        If a weight is negative or no number, they do not sum to 1, or the temperature is not above 0.

    Examples
    --------
    >>> Combination.equal(2)(np.array([[[1.0, 0.0]], [[0.5, 0.5]]])).tolist()
    [[0.75, 0.25]]
    >>> Combination((0.5, 0.5), how="geometric")(np.array([[[0.9, 0.1]], [[0.1, 0.9]]])).tolist()
    [[0.5, 0.5]]
    """

    weights: tuple[float, ...]
    how: str = "arithmetic"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.how not in HOW:
            raise CoppiceError(f"posteriors cannot be combined by {self.how!r}. {did_you_mean(str(self.how), HOW)}")
        if not self.weights or not all(math.isfinite(weight) and weight >= 0 for weight in self.weights):
            raise CoppiceError(f"the weights are {self.weights}; give one number from 0 to 1 for each member.")
        if abs(sum(self.weights) - 1) > 1e-6:
            raise CoppiceError(f"the weights sum to {sum(self.weights):.6g}; give numbers that sum to 1.")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise CoppiceError(f"the temperature is {self.temperature!r}; give a number above 0, such as 1.")

    @classmethod
    def equal(cls, members: int, chosen: Sequence[int] | None = None, *, how: str = "arithmetic") -> "Combination":
        """Return the rule that gives each member, or each chosen one, the same weight.

        Examples
        --------
        >>> Combination.equal(4, [0, 2]).weights
        (0.5, 0.0, 0.5, 0.0)
        """
        indices = range(members) if chosen is None else chosen
        return cls(tuple(1 / len(indices) if i in indices else 0.0 for i in range(members)), how=how)

    @property
    def chosen(self) -> tuple[int, ...]:
        """Indices of the members that have a weight."""
        return tuple(index for index, weight in enumerate(self.weights) if weight > 0)

    def __call__(self, members: Stacked) -> Float64[np.ndarray, "clips classes"]:
        """Combine the posteriors of all members, in float64.

        Raises
        ------
        CoppiceError
            If there are not as many members as weights.
        """
        if len(members) != len(self.weights):
            raise CoppiceError(f"there are {len(members)} members and {len(self.weights)} weights; give one for each.")
        if self.how == "arithmetic" and self.temperature == 1:
            total = np.zeros(members.shape[1:])
            for index in self.chosen:
                total += self.weights[index] * members[index]
            return total
        return probabilities(self.logits(members) / self.temperature)

    def logits(self, members: Stacked) -> Float64[np.ndarray, "clips classes"]:
        """Return logarithms of the combined posteriors before the temperature, but for a constant in each row."""
        if self.how == "arithmetic":
            return np.log(np.clip(Combination(self.weights)(members), SMALLEST, None))
        total = np.zeros(members.shape[1:])
        for index in self.chosen:
            total += self.weights[index] * np.log(np.clip(members[index], SMALLEST, None))
        return total


def probabilities(logits: Float[np.ndarray, "clips classes"]) -> Float64[np.ndarray, "clips classes"]:
    """Return the softmax of each row.

    Examples
    --------
    >>> probabilities(np.array([[0.0, 0.0]])).tolist()
    [[0.5, 0.5]]
    """
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)
