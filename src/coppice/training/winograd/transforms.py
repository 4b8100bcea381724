"""The matrices of Winograd's minimal filtering, in exact fractions."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
from jaxtyping import Float64

# Of a polynomial, each before its negative. Small numerators and denominators keep the float32 errors small; with
# larger kernels no points do (Barabasz, Anderson, Soodhalter & Gregg 2020).
_PAIRS = (Fraction(1), Fraction(2), Fraction(1, 2), Fraction(3, 4))
OUTPUTS = 4
TAPS = (3, 5, 7)


@dataclass(frozen=True, eq=False)
class Transforms:
    """Matrices with which ``outputs @ ((weights @ w) * (inputs @ x))`` correlates x with w.

    The points are 0, pairs of a number and its negative, and infinity, in this order: in rows of a pair, every other
    value is the same and the rest is of opposite sign.

    Attributes
    ----------
    inputs : array (points, points)
        Of points numbers in a row.
    weights : array (points, taps)
    outputs : array (outputs, points)
    """

    inputs: Float64[np.ndarray, "points points"]
    weights: Float64[np.ndarray, "points taps"]
    outputs: Float64[np.ndarray, "outputs points"]

    @property
    def points(self) -> int:
        """How many multiplications there are in place of ``outputs * taps``."""
        return len(self.inputs)


@lru_cache(maxsize=len(TAPS))
def transforms(taps: int) -> Transforms:
    """Return the matrices for four outputs of a correlation (Winograd 1980; Lavin & Gray 2016; Toom and Cook).

    Parameters
    ----------
    taps : {3, 5, 7}
        Weights in a row.

    Examples
    --------
    >>> by = transforms(7)
    >>> x, w = np.arange(10.0), np.arange(7.0)
    >>> np.round(by.outputs @ ((by.weights @ w) * (by.inputs @ x)), 9).tolist()
    [91.0, 112.0, 133.0, 154.0]
    """
    size = OUTPUTS + taps - 1
    pairs = _PAIRS[: size // 2 - 1]
    finite = [Fraction(0), *(sign * pair for pair in pairs for sign in (1, -1))]
    inputs, weights, outputs = [], [], []
    for number, point in enumerate(finite):
        others = [other for place, other in enumerate(finite) if place != number]
        row, scale = _balanced([*_product(others), Fraction(0)])
        inputs.append(row)
        differences = Fraction(1)
        for other in others:
            differences *= point - other
        weights.append([scale * point**power / differences for power in range(taps)])
        outputs.append([point**power for power in range(OUTPUTS)])
    row, scale = _balanced(_product(finite))
    inputs.append(row)
    weights.append([Fraction(0)] * (taps - 1) + [scale])
    outputs.append([Fraction(0)] * (OUTPUTS - 1) + [Fraction(1)])
    return Transforms(_floats(inputs), _floats(weights), _floats(outputs).T)


def _product(roots: Sequence[Fraction]) -> list[Fraction]:
    """Return the coefficients of the polynomial with these roots, the constant first."""
    found = [Fraction(1)]
    for root in roots:
        longer = [Fraction(0), *found]
        for power, value in enumerate(found):
            longer[power] -= root * value
        found = longer
    return found


def _balanced(row: list[Fraction]) -> tuple[list[Fraction], Fraction]:
    """Divide a row by a power of two, so that its largest value is near one; return that power too."""
    largest = max(abs(value) for value in row)
    scale = Fraction(2) ** round(float(np.log2(float(largest))))
    return [value / scale for value in row], scale


def _floats(rows: list[list[Fraction]]) -> Float64[np.ndarray, "rows columns"]:
    return np.array([[float(value) for value in row] for row in rows])
