"""How well similarities from a few columns stand for all of them, in one layer.

The measures of Singh and Plumbley, "Efficient similarity-based passive filter pruning for compressing CNNs", ICASSP
2023, arXiv 2210.17416: the spectral norm of what is left of the matrix, and the smallest number of columns that keeps
the same filters.
"""

import time
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from coppice.criteria.nystrom import nystrom_vectors
from coppice.criteria.options import name_and_options
from coppice.criteria.prototypes import prototypes
from coppice.criteria.registry import rank
from coppice.criteria.threads import one_thread

EXACT = "cosine_similarity"
SIMILAR = (EXACT, "cosine_similarity_2022", "nystrom", "nystrom_spread")
_NOTHING = 1e-9  # an error below is rounding
_REPEATS, _LEAST_S = 5, 0.05  # some clocks of processor time tick every 16 ms


@dataclass(frozen=True)
class Approximation:
    """How a criterion that ranks by similarities does on one layer.

    Attributes
    ----------
    ranking_ms : float
        Processor time of the ranking, prototypes included: mean of five times or more.
    similarity_error : float
        Spectral norm of W − W̃, the similarities of all filters and those that the criterion ranks by.
    smallest_m : int or None
        The smallest number of columns, 1 to filters − 1, with which the filters that the method keeps by itself are
        those of the exact similarities; None where there is no such number.
    """

    ranking_ms: float
    similarity_error: float
    smallest_m: int | None


def ranks_by_similarity(criterion: str) -> bool:
    """Say whether a criterion, given with or without options, ranks by similarities or an approximation of them.

    Examples
    --------
    >>> ranks_by_similarity("nystrom(m=4)"), ranks_by_similarity("l1")
    (True, False)
    """
    return name_and_options(criterion)[0] in SIMILAR


@one_thread()
def approximation(weight: Float[Tensor, "filters channels *kernel"], criterion: str) -> Approximation:
    """Measure a criterion that ranks by similarities.

    Parameters
    ----------
    weight : Tensor [shape=(filters, channels, *kernel)]
    criterion : str
        One of which :func:`ranks_by_similarity` holds. For ``nystrom_spread`` and ``columns=spread`` the smallest
        number is of spread columns, for all others of the first ones, as in the paper.

    Raises
    ------
    CoppiceError
        If an option is out of range, or a weight is not finite.

    Examples
    --------
    >>> found = approximation(torch.tensor([[[1.0, 0.0]], [[1.0, 0.1]], [[0.0, 1.0]]]), "nystrom(m=1)")
    >>> round(found.similarity_error, 4), found.smallest_m
    (1.0099, 1)
    """
    exact = prototypes(weight)
    name, options = name_and_options(criterion)
    spread = name == "nystrom_spread" or options.get("columns") == "spread"
    return Approximation(
        ranking_ms=_milliseconds(weight, criterion),
        similarity_error=_error(exact, _approximated(exact, criterion)),
        smallest_m=_smallest_m(weight, exact, "nystrom_spread" if spread else "nystrom"),
    )


def _milliseconds(weight: Float[Tensor, "filters channels *kernel"], criterion: str) -> float:
    rank(weight, criterion)  # what is done once is not counted
    count, begun = 0, time.process_time()
    while count < _REPEATS or time.process_time() - begun < _LEAST_S:
        rank(weight, criterion)
        count += 1
    return 1000 * (time.process_time() - begun) / count


def _approximated(exact: Float[Tensor, "filters kernel"], criterion: str) -> Float[Tensor, "filters rank"]:
    name, options = name_and_options(criterion)
    if name == "nystrom":
        return nystrom_vectors(exact, **options)
    return nystrom_vectors(exact, **options, columns="spread") if name == "nystrom_spread" else exact


def _error(exact: Float[Tensor, "filters kernel"], found: Float[Tensor, "filters rank"]) -> float:
    return float(torch.linalg.eigvalsh(exact @ exact.T - found @ found.T).abs().max())


def _smallest_m(
    weight: Float[Tensor, "filters channels *kernel"], exact: Float[Tensor, "filters kernel"], kind: str
) -> int | None:
    wanted = rank(weight, EXACT).keep
    for m in range(1, len(weight)):
        tried = f"{kind}(m={m})"
        if rank(weight, tried).keep == wanted:
            return m
        if _error(exact, _approximated(exact, tried)) < _NOTHING:
            return None  # more columns change nothing
    return None
