"""Ridge regression on sums over clips: the matrix that best takes rows to targets, near the one that is there."""

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

PARTS = 5  # of the clips: the ridge is chosen on one with what the others say
RIDGES = tuple(10.0**power for power in range(-12, 3))

Matrix = Float64[Tensor, "groups columns outputs"]


@dataclass(eq=False)
class Sums:
    """What least squares needs to know of rows and targets: sums of products, in float64.

    Their size does not grow with the number of rows, and sums of two sets of rows are the sums of both.

    Attributes
    ----------
    count : int
        Rows.
    rows, targets : Tensor [shape=(groups, columns) and (groups, outputs)]
        Sums.
    gram : Tensor [shape=(groups, columns, columns)]
        Products of rows with rows.
    cross : Tensor [shape=(groups, columns, outputs)]
        Products of rows with targets.
    energy : Tensor [shape=(groups, outputs)]
        Squares of targets.

    Examples
    --------
    >>> x, y = torch.randn(1, 50, 3).double(), torch.randn(1, 50, 2).double()
    >>> parts = Sums.of(x[:, :20], y[:, :20]).plus(Sums.of(x[:, 20:], y[:, 20:]))
    >>> torch.allclose(parts.gram, Sums.of(x, y).gram)
    True
    """

    count: int
    rows: Float64[Tensor, "groups columns"]
    targets: Float64[Tensor, "groups outputs"]
    gram: Float64[Tensor, "groups columns columns"]
    cross: Matrix
    energy: Float64[Tensor, "groups outputs"]

    @classmethod
    def of(
        cls, rows: Float64[Tensor, "groups rows columns"], targets: Float64[Tensor, "groups rows outputs"]
    ) -> "Sums":
        """Return the sums over some rows."""
        gram, cross = rows.mT @ rows, rows.mT @ targets
        return cls(rows.shape[1], rows.sum(1), targets.sum(1), gram, cross, targets.square().sum(1))

    def plus(self, other: "Sums") -> "Sums":
        """Return the sums over the rows of both."""
        return self._with(other, 1)

    def minus(self, other: "Sums") -> "Sums":
        """Return the sums over these rows without those of another."""
        return self._with(other, -1)

    def _with(self, other: "Sums", sign: int) -> "Sums":
        mine, theirs = vars(self), vars(other)
        return Sums(**{name: mine[name] + sign * theirs[name] for name in mine})

    def centred(self) -> "Sums":
        """Return the sums over the same rows and targets less their means: what is left to a matrix beside a bias."""
        rows, targets = self.rows / self.count, self.targets / self.count
        return Sums(
            self.count,
            torch.zeros_like(self.rows),
            torch.zeros_like(self.targets),
            self.gram - self.count * rows[:, :, None] * rows[:, None],
            self.cross - self.count * rows[:, :, None] * targets[:, None],
            self.energy - self.count * targets.square(),
        )

    def error(self, matrix: Matrix) -> Float64[Tensor, " groups"]:
        """Return the sum over these rows of the squared distance of ``rows @ matrix`` from the targets."""
        return self.energy.sum(1) + (matrix * (self.gram @ matrix - 2 * self.cross)).sum((1, 2))


def ridge_fits(sums: Sums, start: Matrix, ridges: tuple[float, ...]) -> list[Matrix]:
    """Return the ridge regressions of these sums towards a matrix, one for each strength.

    Each minimises ``‖rows @ W − targets‖² + ridge · scale · ‖W − start‖²``, where scale is the mean of the diagonal of
    the group's Gram matrix (Hoerl and Kennard, Technometrics 12, 1970, but shrunk towards ``start``, not zero).

    Parameters
    ----------
    sums : Sums
    start : Tensor [shape=(groups, columns, outputs)]
        The strong ridge's answer.
    ridges : tuple of float > 0

    Examples
    --------
    >>> x, w = torch.randn(1, 99, 3).double(), torch.randn(1, 3, 2).double()
    >>> weak, strong = ridge_fits(Sums.of(x, x @ w), torch.zeros_like(w), (1e-12, 1e9))
    >>> torch.allclose(weak, w), torch.allclose(strong, torch.zeros(2).double(), atol=1e-6)
    (True, True)
    """
    values, vectors = torch.linalg.eigh(sums.gram)
    values = values.clamp(min=0)
    scale = values.mean(dim=1)  # the mean of the eigenvalues is that of the diagonal
    scale = torch.where(scale > 0, scale, 1.0)  # rows of zeros leave everything as it is
    turned = vectors.mT @ (sums.cross - sums.gram @ start)
    return [start + vectors @ (turned / (values + ridge * scale[:, None])[:, :, None]) for ridge in ridges]


def fit(
    parts: list[Sums], start: Matrix, *, ridge: float | None, bias: bool
) -> tuple[Matrix, Float64[Tensor, "groups outputs"] | None, float | None]:
    """Fit a matrix, and a bias where there is one, to the sums of several parts of the clips.

    Without a given strength, that of :data:`RIDGES` is taken which, fitted on all parts but one, has the smallest error
    on that one, summed over the parts; if none is better there than the start, the start stays.

    Parameters
    ----------
    parts : list of Sums
        Of distinct clips.
    start : Tensor [shape=(groups, columns, outputs)]
        The matrix that is there.
    ridge : float > 0 or None
        Strength, as a share of the mean of the Gram matrix' diagonal.
    bias : bool
        Whether a bias, which no ridge holds back, is fitted with it.

    Returns
    -------
    matrix : Tensor [shape=(groups, columns, outputs)]
    bias : Tensor [shape=(groups, outputs)] or None
    ridge : float or None
        The strength that was taken; None where the start stays.

    Examples
    --------
    >>> x, w = torch.randn(1, 60, 3).double(), torch.randn(1, 3, 2).double()
    >>> parts = [Sums.of(some, some @ w + 7) for some in x.split(20, dim=1)]
    >>> matrix, bias, ridge = fit(parts, torch.zeros_like(w), ridge=None, bias=True)
    >>> torch.allclose(matrix, w), torch.allclose(bias, torch.tensor(7.0).double()), ridge < 1e-6
    (True, True, True)
    """
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.plus(part)
    chosen = ridge if ridge is not None or len(parts) == 1 else _best_ridge(parts, whole, start, bias=bias)
    if chosen is None:
        matrix = start
    else:
        (matrix,) = ridge_fits(whole.centred() if bias else whole, start, (chosen,))
    if not bias:
        return matrix, None, chosen
    means = whole.rows / whole.count, whole.targets / whole.count
    return matrix, means[1] - (means[0][:, None] @ matrix)[:, 0], chosen


def _best_ridge(parts: list[Sums], whole: Sums, start: Matrix, *, bias: bool) -> float | None:
    errors = torch.zeros(len(RIDGES) + 1, dtype=torch.float64)
    for held in parts:
        others = whole.minus(held)
        fits = ridge_fits(others.centred() if bias else others, start, RIDGES)
        for place, matrix in enumerate([*fits, start]):
            errors[place] += _error_elsewhere(others, held, matrix, bias=bias)
    best = int(errors.argmin())
    return RIDGES[best] if best < len(RIDGES) else None


def _error_elsewhere(known: Sums, held: Sums, matrix: Matrix, *, bias: bool) -> float:
    """Return the squared error on held rows of a matrix with the bias that known rows give it."""
    error = float(held.error(matrix).sum())
    if bias:
        constant = known.targets / known.count - (known.rows[:, None] @ matrix)[:, 0] / known.count
        left = held.targets - (held.rows[:, None] @ matrix)[:, 0]
        error += float((constant * (held.count * constant - 2 * left)).sum())
    return error
