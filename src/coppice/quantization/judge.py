"""How much a rounded network has lost, on clips that it was not calibrated on."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from coppice.core.errors import CoppiceError

_EPS = 1e-15


@dataclass(frozen=True, eq=False)
class Judge:
    """The same clips, heard by the network in float32.

    Attributes
    ----------
    posteriors : ndarray of float64, shape (clips, classes)
        In float32.
    targets : ndarray of int64 or None, shape (clips,)
        The classes; without them, what the network in float32 heard takes their place.
    score : {"softmax", "sigmoid"}
        One class of several, or each class for itself.
    """

    posteriors: Float[np.ndarray, "clips classes"]
    targets: Int[np.ndarray, " clips"] | None = None
    score: str = "softmax"

    def __post_init__(self) -> None:
        """Refuse targets that do not go with the clips."""
        if self.targets is None:
            return
        clips, classes = self.posteriors.shape
        if self.score == "sigmoid":
            raise CoppiceError("a network that tags has no one class per clip; leave the targets out.")
        if self.targets.shape != (clips,) or not np.issubdtype(self.targets.dtype, np.integer):
            raise CoppiceError(
                f"targets of shape {self.targets.shape} do not go with {clips} clips; give one for each."
            )
        if self.targets.min() < 0 or self.targets.max() >= classes:
            raise CoppiceError(f"a target is {self.targets.max()}; give the indices of classes, 0 to {classes - 1}.")

    @property
    def measure(self) -> str:
        """What a drop is a drop of."""
        return "accuracy" if self.targets is not None else "agreement with float32"

    def drop(self, found: Float[np.ndarray, "clips classes"]) -> float:
        """Return by how much fewer of the clips, 0 to 1, get their class (or the one that they get in float32).

        Examples
        --------
        >>> sure = np.array([[0.9, 0.1], [0.2, 0.8]])
        >>> Judge(sure, np.array([0, 0])).drop(sure[::-1]), Judge(sure).drop(sure[::-1])
        (0.0, 1.0)
        """
        before, after = self.posteriors.argmax(1), found.argmax(1)
        wanted = before if self.targets is None else self.targets
        return float((before == wanted).mean() - (after == wanted).mean())

    def loss(self, found: Float[np.ndarray, "clips classes"]) -> float:
        """Return the log-loss in nats, of the targets or of the posteriors in float32; finer than :meth:`drop`.

        Examples
        --------
        >>> round(Judge(np.array([[0.5, 0.5]]), np.array([1])).loss(np.array([[0.5, 0.5]])), 4)
        0.6931
        """
        wanted = self.posteriors if self.targets is None else np.eye(found.shape[1])[self.targets]
        likely = np.log(np.clip(found, _EPS, 1.0))
        total = -(wanted * likely).sum(axis=1)
        if self.score == "sigmoid":
            total -= ((1 - wanted) * np.log(np.clip(1 - found, _EPS, 1.0))).sum(axis=1)
        return float(total.mean())
