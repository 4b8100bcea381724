"""The criteria by name."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.criteria.evidence import Evidence, evidence_names, looks_at, missing_sentence
from coppice.criteria.finite import refuse_not_finite
from coppice.criteria.options import name_and_options
from coppice.criteria.own_criterion import import_function
from coppice.criteria.ranking import Ranking

AnyCriterion = TypeVar("AnyCriterion", bound=Callable[..., Ranking])
_CRITERIA: dict[str, "_Registered"] = {}


@dataclass(frozen=True)
class _Registered:
    function: Callable[..., Ranking]
    weight: str  # name of its first argument
    asks: frozenset[str]  # names of its arguments
    as_stored: bool


def criterion(name: str, *, as_stored: bool = False) -> Callable[[AnyCriterion], AnyCriterion]:
    """Register a function of weights as a criterion.

    The function takes the float64 weight of one layer, ``Float[Tensor, "filters channels *kernel"]`` (a
    linear layer has no kernel axes), and returns a :class:`~coppice.criteria.ranking.Ranking`. What else it needs, it
    declares as keyword-only arguments: ``seed`` for random numbers, fields of
    :class:`~coppice.criteria.evidence.Evidence`, such as ``maps``, or a summary of them by its name (see
    :func:`~coppice.criteria.summaries.summary`).

    Parameters
    ----------
    name : str
        What recipes and the command line call it.
    as_stored : bool
        Give the function the weight as the network stores it (any floating-point type, not checked) in place of a
        checked float64 copy. For criteria that go through large layers piece by piece, and refuse weights that are
        not finite themselves.

    Raises
    ------
    CoppiceError
        If the name is taken, or the function asks for something that nobody knows.

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
        parameters = inspect.signature(function).parameters
        for asked in list(parameters.values())[1:]:
            known = ("seed", *evidence_names())
            if asked.default is asked.empty and asked.kind is asked.KEYWORD_ONLY and asked.name not in known:
                raise CoppiceError(f"criterion {name!r} asks for {asked.name!r}. {did_you_mean(asked.name, known)}")
        _CRITERIA[name] = _Registered(function, next(iter(parameters), ""), frozenset(parameters), as_stored)
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


def criterion_needs(name: str) -> frozenset[str]:
    """Return which evidence a criterion asks for, fields and summaries alike; empty for one that looks at weights only.

    Raises
    ------
    CoppiceError
        If there is no such criterion.

    Examples
    --------
    >>> criterion_needs("l1")
    frozenset()
    """
    return _find(name)[0].asks.intersection(evidence_names())


def needs_clips(name: str) -> bool:
    """Say whether a criterion looks at what layers hand on for clips.

    Raises
    ------
    CoppiceError
        If there is no such criterion.

    Examples
    --------
    >>> needs_clips("taylor"), needs_clips("l1")
    (True, False)
    """
    return any(looks_at(need) - {"scale"} for need in criterion_needs(name))


def rank(
    weight: Float[Tensor, "filters channels *kernel"],
    criterion: str,
    *,
    seed: int = 0,
    evidence: Evidence | None = None,
) -> Ranking:
    """Rank the filters of one layer.

    Parameters
    ----------
    weight : Tensor [shape=(filters, channels, *kernel)]
        Weight of a convolution (1d, 2d, 3d) or a linear layer (filters, channels). Computed in float64.
    criterion : str
        Name of a criterion (see :func:`criterion_names`), or ``package.module:function`` of your own; options of it
        stand in brackets: ``"nystrom(m=4)"``.
    seed : int >= 0
        For criteria that draw random numbers; others ignore it.
    evidence : Evidence, optional
        For criteria that look at more than the weights.

    Returns
    -------
    Ranking

    Raises
    ------
    CoppiceError
        If there is no such criterion or option, what it needs is missing, the weight has no filters or is not finite,
        or the criterion does not return a ranking of these filters.

    Examples
    --------
    >>> rank(torch.tensor([[1.0, -3.0], [2.0, 1.0]]), "l1").order
    (1, 0)
    """
    registered, given = _find(criterion)
    if not weight.is_floating_point() or weight.ndim < 2 or weight.numel() == 0:
        kind = str(weight.dtype).removeprefix("torch.")
        raise CoppiceError(
            f"a weight of shape {tuple(weight.shape)} and type {kind} cannot be ranked; give floating-point "
            "numbers of shape (filters, channels, *kernel)."
        )
    options: dict[str, Any] = {**given, "seed": seed} if "seed" in registered.asks else {**given}
    for name in sorted(criterion_needs(criterion)):
        known = None if evidence is None else evidence.look_up(name, len(weight))
        if known is None:
            raise CoppiceError(f"criterion {criterion!r} needs {missing_sentence(name)}.")
        options[name] = known
    weight = weight.detach().cpu()
    if not registered.as_stored:
        refuse_not_finite(weight)
        weight = weight.to(torch.float64)
    found = registered.function(weight, **options)
    if not isinstance(found, Ranking) or len(found.order) != len(weight):
        what = (
            f"ranks {len(found.order)} filters" if isinstance(found, Ranking) else f"returns a {type(found).__name__}"
        )
        raise CoppiceError(f"criterion {criterion!r} {what}; it has to return a Ranking of all {len(weight)} filters.")
    return found


def _find(text: str) -> tuple[_Registered, dict[str, Any]]:
    """Return a criterion, and the options that its name is given with."""
    name, options = name_and_options(text)
    registered = _named(name)
    known = sorted(registered.asks - {"seed", registered.weight, *evidence_names()})
    for option in options:
        if option not in known:
            hint = did_you_mean(option, known) if known else "It has none: leave out the brackets."
            raise CoppiceError(f"criterion {name!r} has no option {option!r}. {hint}")
    return registered, options


def _named(name: str) -> _Registered:
    if name in _CRITERIA:
        return _CRITERIA[name]
    if ":" not in name:
        raise CoppiceError(f"there is no criterion {name!r}. {did_you_mean(name, criterion_names())}")
    function = import_function(name)
    for registered in _CRITERIA.values():
        if registered.function is function:
            return registered
    raise CoppiceError(f'{name!r} is not a criterion; write @coppice.criterion("name of your choice") above it.')
