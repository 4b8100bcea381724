"""How much the filters of one layer matter beside those of another."""

import math
from collections.abc import Callable, Mapping, Sequence

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.criteria.ranking import Ranking


def _by_mean(scores: Sequence[float]) -> float:
    return sum(abs(score) for score in scores) / len(scores)


def _by_l2(scores: Sequence[float]) -> float:
    return math.sqrt(sum(score * score for score in scores))


NORMALISATIONS: Mapping[str, tuple[Callable[[Sequence[float]], float], str]] = {
    "mean": (_by_mean, "divided by the mean of their absolute values in the layer"),
    "l2": (_by_l2, "divided by their l2 norm in the layer"),
}


def check_normalisation(name: str) -> None:
    """Raise if scores cannot be made comparable in this way.

    Raises
    ------
    CoppiceError
        If there is no such normalisation.
    """
    if name not in NORMALISATIONS:
        raise CoppiceError(f"there is no normalisation {name!r}. {did_you_mean(str(name), NORMALISATIONS)}")


def leaving_order(ranking: Ranking, units: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the filters that can leave, those that leave together as one, first to last.

    Of coupled filters the sum of their places in the ranking decides.

    Parameters
    ----------
    ranking : Ranking
    units : sequence of int
        Unit of each filter; 0 never leaves.

    Examples
    --------
    >>> leaving_order(Ranking("l1", order=(2, 0, 1, 3), scores=(1.0, 2.0, 0.5, 3.0)), units=(1, 2, 2, 0))
    [(0,), (1, 2)]
    """
    place = {filter_: position for position, filter_ in enumerate(ranking.order)}
    members: dict[int, list[int]] = {}
    for index, unit in enumerate(units):
        if unit:
            members.setdefault(unit, []).append(index)
    return [tuple(found) for found in sorted(members.values(), key=lambda found: sum(place[index] for index in found))]


def importance(ranking: Ranking, leaving: Sequence[Sequence[int]], *, normalisation: str) -> list[float]:
    """Return how much each group of filters matters, on a scale that is the same for all layers.

    Scores of one layer are divided by one number, see :data:`NORMALISATIONS`: ``mean`` makes an average filter of
    every layer matter equally; ``l2`` is that of Molchanov et al., "Pruning convolutional neural networks for resource
    efficient inference" (ICLR 2017, section 2.2), under which filters of wide layers matter less. A group has the mean
    of its filters' scores. A layer's filters always leave in the order of its ranking: where that is not the order of
    the scores, as in greedy methods, the first to leave counts as the lowest score, and so on.

    Parameters
    ----------
    ranking : Ranking
    leaving : sequence of sequences of int
        Groups of filters in the order in which they leave.
    normalisation : {"mean", "l2"}

    Returns
    -------
    list of float
        One per group, ascending.

    Examples
    --------
    >>> ranking = Ranking("l1", order=(1, 0, 2), scores=(2.0, 1.0, 3.0))
    >>> importance(ranking, [(1,), (0,), (2,)], normalisation="mean")
    [0.5, 1.0, 1.5]
    """
    check_normalisation(normalisation)
    size = NORMALISATIONS[normalisation][0](ranking.scores)
    scores = [sum(ranking.scores[index] for index in group) / len(group) for group in leaving]
    return sorted(score / size if size > 0 else 0.0 for score in scores)
