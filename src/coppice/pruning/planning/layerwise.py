"""Every layer cut by itself: to a number of filters, or to the method's own set."""

from collections.abc import Iterable, Mapping, Sequence

from coppice.core.errors import CoppiceError
from coppice.criteria.ranking import Ranking
from coppice.pruning.planning.importance import leaving_order
from coppice.pruning.tracing.channels import Channels


def deciding_layers(channels: Channels, wanted: Iterable[str]) -> list[str]:
    """Return those of the layers that run before any other of them that they are coupled to.

    Examples
    --------
    >>> channels = Channels({"a": (1, 2), "b": (3,), "c": (2, 1)}, (), {})
    >>> deciding_layers(channels, ["a", "b", "c"]), deciding_layers(channels, ["c"])
    (['a', 'b'], ['c'])
    """
    wanted = set(wanted)
    seen: set[int] = set()
    deciding = []
    for name in channels.layers:
        units = set(channels.units(name)) - {0}
        if name in wanted and not seen & units:
            deciding.append(name)
            seen |= units
    return deciding


def kept_filters(
    ranking: Ranking, units: Sequence[int], count: int | None, *, round_to: int = 1, minimum: int = 1
) -> tuple[int, ...]:
    """Return the filters that a layer keeps, so that coupled ones stay together and those that never leave stay.

    Parameters
    ----------
    ranking : Ranking
    units : sequence of int
        Unit of each filter; 0 never leaves.
    count : int or None
        How many are to stay, never fewer; None for the method's own set.
    round_to, minimum : int >= 1
        Keep a multiple of ``round_to`` and at least ``minimum``, or all.

    Raises
    ------
    CoppiceError
        If the method has no set of its own.

    Examples
    --------
    >>> ranking = Ranking("l1", order=(2, 0, 1, 3), scores=(1.0, 2.0, 0.5, 3.0))
    >>> kept_filters(ranking, (1, 2, 3, 4), 1), kept_filters(ranking, (1, 2, 1, 2), 1)
    ((3,), (1, 3))
    >>> kept_filters(ranking, (1, 2, 3, 4), 1, round_to=2)
    (1, 3)
    """
    filters = len(units)
    leaving = leaving_order(ranking, units)
    gone: list[tuple[int, ...]] = []
    left = filters
    if count is None:
        if ranking.keep is None:
            raise CoppiceError(
                f"{ranking.criterion!r} orders filters but has no set of its own; give ratios, such as "
                'ratios=0.25, or keep, such as keep={"conv2": 11}.'
            )
        own = set(ranking.keep)
        gone = [group for group in leaving if not own & set(group)]
        left -= sum(map(len, gone))
    else:
        for group in leaving:
            if left - len(group) >= max(1, count):
                gone.append(group)
                left -= len(group)
    while gone and (left % round_to or left < minimum):
        left += len(gone.pop())
    cut = {index for group in gone for index in group}
    return tuple(index for index in range(filters) if index not in cut)


def check_coupled(
    channels: Channels,
    wanted: Mapping[str, int | None],
    kept: Mapping[str, Sequence[int]],
    *,
    round_to: int = 1,
    minimum: int = 1,
) -> None:
    """Raise if layers that another one decides for were asked to keep another number than that leaves them.

    Raises
    ------
    CoppiceError
        Names both layers.
    """
    doomed = {unit for name, keep in kept.items() for unit in channels.doomed(name, keep)}
    for name, count in wanted.items():
        if name in kept or count is None:
            continue
        units = channels.units(name)
        left = sum(unit not in doomed for unit in units)
        identity = Ranking("index", tuple(range(len(units))), tuple(map(float, range(len(units)))))
        if left != len(kept_filters(identity, units, count, round_to=round_to, minimum=minimum)):
            decider = next(other for other in kept if name in channels.coupled_layers(other))
            raise CoppiceError(
                f"{name!r} is to keep {count} filters but {decider!r}, to which it is coupled, leaves it "
                f"{left}; ask for the same in both, or name only one."
            )
