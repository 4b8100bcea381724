"""The criteria by name."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.criteria.ranking import Ranking

AnyCriterion = TypeVar("AnyCriterion", bound=Callable[..., Ranking])
_CRITERIA: dict[str, Callable[..., Ranking]] = {}


def criterion(name: str) -> Callable[[AnyCriterion], AnyCriterion]:
    """Register a function of weights as a criterion.

    The function takes the float64 weight of one layer, ``Float[Tensor, "filters channels *kernel"]`` (a
    linear layer has no kernel axes), and returns a :class:`~coppice.criteria.ranking.Ranking`. One that draws
    random numbers declares the keyword ``seed``.

    Parameters
    ----------
    name : str
        What recipes and the command line call it.

    Raises
    ------
    CoppiceError
        If the name is taken.

    Examples
    --------
    >>> @criterion("largest_weight")
    ... def largest_weight(weight):
    ...     return Ranking.from_scores("largest_weight", weight.flatten(1).abs().amax(dim=1))
    >>> rank(torch.tensor([[1.0, -3.0], [2.0, 2.0]]), "largest_weight").order
    (1, 0)
    >>> del _CRITERIA["largest_weight"]
    """

    def register(function: AnyCriterion) -> AnyCriterion:
        if name in _CRITERIA:
            raise CoppiceError(f"there is already a criterion {name!r}; choose another name.")
        _CRITERIA[name] = function
        return function

    return register


def criterion_names() -> tuple[str, ...]:
    """Return the names of all criteria, sorted.

    Examples
    --------
    >>> "cosine_similarity" in criterion_names()
    True
    """
    return tuple(sorted(_CRITERIA))


def rank(weight: Float[Tensor, "filters channels *kernel"], criterion: str, *, seed: int = 0) -> Ranking:
    """Rank the filters of one layer.

    Parameters
    ----------
    weight : Tensor [shape=(filters, channels, *kernel)]
        Weight of a convolution (1d, 2d, 3d) or a linear layer (filters, channels). Computed in float64.
    criterion : str
        Name of a criterion (see :func:`criterion_names`).
    seed : int >= 0
        For criteria that draw random numbers; others ignore it.

    Returns
    -------
    Ranking

    Raises
    ------
    CoppiceError
        If there is no such criterion, or the weight has no filters or is not finite.

    Examples
    --------
    >>> rank(torch.tensor([[1.0, -3.0], [2.0, 1.0]]), "l1").order
    (1, 0)
    """
    function = _CRITERIA.get(criterion)
    if function is None:
        raise CoppiceError(f"there is no criterion {criterion!r}. {did_you_mean(criterion, criterion_names())}")
    if not weight.is_floating_point() or weight.ndim < 2 or weight.numel() == 0:
        kind = str(weight.dtype).removeprefix("torch.")
        raise CoppiceError(
            f"a weight of shape {tuple(weight.shape)} and type {kind} cannot be ranked; give floating-point "
            "numbers of shape (filters, channels, *kernel)."
        )
    if not all(bool(torch.isfinite(extreme)) for extreme in torch.aminmax(weight)):
        where = int((~torch.isfinite(weight)).flatten(1).any(dim=1).nonzero()[0])
        raise CoppiceError(f"filter {where} has weights that are not finite; a network with NaN cannot be ranked.")
    options: dict[str, Any] = {"seed": seed} if "seed" in inspect.signature(function).parameters else {}
    return function(weight.detach().to("cpu", torch.float64), **options)
