"""What criteria read off the maps of a layer, batch by batch, so that the maps need not be kept."""

import inspect
from collections.abc import Callable
from typing import TypeVar

from jaxtyping import Float
from torch import Tensor

from coppice.core.errors import CoppiceError

AnySummary = TypeVar("AnySummary", bound=Callable[..., Tensor])
READ = ("maps", "gradients")
_SUMMARIES: dict[str, Callable[..., Tensor]] = {}


def summary(function: AnySummary) -> AnySummary:
    """Register a mean over clips; a criterion that names it as a keyword-only argument is given it.

    The maps of 64 clips in the first layers of a large network take gigabytes. A summary sees a few clips at a time:
    it takes ``maps``, ``Float[Tensor, "clips filters *positions"]`` in float64, or ``maps`` and ``gradients``, and
    returns the mean over these clips of any tensor whose first axis is filters. Means of batches are put together
    by the number of their clips.

    Parameters
    ----------
    function : callable
        Known by its own name.

    Raises
    ------
    CoppiceError
        If the name is taken, or an argument is neither ``maps`` nor ``gradients``.

    Examples
    --------
    >>> @summary
    ... def largest_response(maps):
    ...     return maps.flatten(2).amax(dim=2).mean(dim=0)
    >>> summary_needs("largest_response")
    frozenset({'maps'})
    >>> del _SUMMARIES["largest_response"]
    """
    name, reads = function.__name__, set(inspect.signature(function).parameters)
    if name in (*_SUMMARIES, *READ, "scale", "seed"):
        raise CoppiceError(
            f"there is already something called {name!r} that criteria can ask for; choose another name."
        )
    if not reads or not reads <= set(READ):
        raise CoppiceError(
            f"summary {name!r} takes {', '.join(sorted(reads)) or 'nothing'}; let it take maps, or maps and gradients."
        )
    _SUMMARIES[name] = function
    return function


def summary_names() -> tuple[str, ...]:
    """Return the names of all summaries, sorted.

    Examples
    --------
    >>> "nonzero_share" in summary_names()
    True
    """
    return tuple(sorted(_SUMMARIES))


def summary_needs(name: str) -> frozenset[str]:
    """Return what a summary reads: ``maps``, ``gradients``.

    Examples
    --------
    >>> sorted(summary_needs("saliency"))
    ['gradients', 'maps']
    """
    return frozenset(inspect.signature(_SUMMARIES[name]).parameters)


def summarise(
    name: str,
    maps: Float[Tensor, "clips filters *positions"],
    gradients: Float[Tensor, "clips filters *positions"] | None = None,
) -> Float[Tensor, "filters *rest"]:
    """Return a summary of maps, and of gradients where it reads them.

    Parameters
    ----------
    name : str
        One of :func:`summary_names`.
    maps, gradients : Tensor [shape=(clips, filters, *positions)], float64

    Examples
    --------
    >>> import torch
    >>> summarise("nonzero_share", torch.tensor([[[0.0, 2.0], [1.0, 1.0]]])).tolist()
    [0.5, 1.0]
    """
    given = {"maps": maps, "gradients": gradients}
    return _SUMMARIES[name](**{read: given[read] for read in summary_needs(name)})
