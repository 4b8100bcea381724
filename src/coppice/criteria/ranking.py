"""A ranking: in which order to remove the filters of one layer, and the method's own set where it has one."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from coppice.core.errors import CoppiceError


@dataclass(frozen=True)
class Ranking:
    """What a criterion returns for one layer.

    Attributes
    ----------
    criterion : str
        Name of the criterion.
    order : tuple of int
        All filters, remove-first to remove-last.
    scores : tuple of float
        One per filter (index = filter). Its scale is the criterion's own.
    keep : tuple of int or None
        The set the method itself keeps, ascending; None for a method that only orders.

    Raises
    ------
    CoppiceError
        If the order is no permutation, scores are missing, or the set to keep is not one.

    Examples
    --------
    >>> Ranking("l1", order=(2, 0, 1), scores=(1.5, 3.0, 0.2)).keep_count(2)
    (0, 1)
    """

    criterion: str
    order: tuple[int, ...]
    scores: tuple[float, ...]
    keep: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        filters = len(self.scores)
        known = set(range(filters))
        if filters < 1 or len(self.order) != filters or set(self.order) != known:
            raise CoppiceError(
                f"the ranking by {self.criterion!r} names filters {list(self.order)} for {filters} scores; "
                "each of the filters must stand in it once."
            )
        if self.keep is not None and (
            not self.keep or list(self.keep) != sorted(set(self.keep)) or not known.issuperset(self.keep)
        ):
            raise CoppiceError(
                f"the ranking by {self.criterion!r} keeps {list(self.keep)}; give one or more of the "
                f"{filters} filters, ascending, each once."
            )

    @classmethod
    def from_scores(cls, criterion: str, scores: Float[Tensor, " filters"]) -> "Ranking":
        """Order filters by score, lowest first; of equal ones the lower index goes first.

        Examples
        --------
        >>> Ranking.from_scores("l1", torch.tensor([2.0, 1.0, 2.0])).order
        (1, 0, 2)
        """
        order = torch.argsort(scores, stable=True)
        return cls(criterion, tuple(order.tolist()), tuple(scores.tolist()))

    def keep_count(self, count: int) -> tuple[int, ...]:
        """Return the ``count`` filters that are removed last, ascending.

        Parameters
        ----------
        count : int
            From 1 to the number of filters.

        Raises
        ------
        CoppiceError
            If the count is out of range.
        """
        if not 1 <= count <= len(self.order):
            raise CoppiceError(f"cannot keep {count} of {len(self.order)} filters; give 1 to {len(self.order)}.")
        return tuple(sorted(self.order[len(self.order) - count :]))
