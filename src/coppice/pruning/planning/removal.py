"""The one order in which the filters of a whole network leave, and how far along it to go."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from coppice.pruning.tracing.channels import Channels

State = tuple[int, ...]


@dataclass(frozen=True)
class Decider:
    """A layer that decides for itself and those coupled to it.

    Attributes
    ----------
    name : str
    units : tuple of int
        Unit of each filter; 0 never leaves.
    leaving : tuple of int
        The units that may leave, first to last.
    importance : tuple of float
        Of each of these, comparable across layers, ascending.
    """

    name: str
    units: tuple[int, ...]
    leaving: tuple[int, ...]
    importance: tuple[float, ...]

    def sizes(self) -> list[int]:
        """Return how many filters of this layer go with each unit."""
        counts: dict[int, int] = {}
        for unit in self.units:
            counts[unit] = counts.get(unit, 0) + 1
        return [counts[unit] for unit in self.leaving]


@dataclass(frozen=True)
class Removal:
    """What may leave, and in which order. A *state* says how many units of each decider have left.

    Attributes
    ----------
    deciders : tuple of Decider
        With only those units that may leave.
    order : tuple of int
        Whose unit leaves next, by index into ``deciders``, from first to last.
    allowed : tuple of tuples of int
        For every decider, the numbers of units after which its width is a multiple of ``round_to``, ascending; 0 first.
    """

    deciders: tuple[Decider, ...]
    order: tuple[int, ...]
    allowed: tuple[tuple[int, ...], ...]

    @property
    def least(self) -> State:
        """The state of the smallest network."""
        return tuple(numbers[-1] for numbers in self.allowed)

    def state(self, removed: int) -> State:
        """Return the state after the first ``removed`` of ``order``, with widths rounded up.

        States are nested: whatever leaves early also leaves late.
        """
        raw = [0] * len(self.deciders)
        for decider in self.order[:removed]:
            raw[decider] += 1
        return tuple(
            max(number for number in numbers if number <= count)
            for numbers, count in zip(self.allowed, raw, strict=True)
        )

    def doomed(self, state: State) -> frozenset[int]:
        """Return the units that have left in a state."""
        return frozenset(
            unit for decider, count in zip(self.deciders, state, strict=True) for unit in decider.leaving[:count]
        )

    def first_state(self, holds: Callable[[State], bool]) -> State | None:
        """Return the state nearest to the whole network in which something holds, None if in none.

        What holds in one state must hold in all later ones.
        """
        low, high = 0, len(self.order)
        if not holds(self.state(high)):
            return None
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if holds(self.state(middle)) else (middle + 1, high)
        return self.state(low)


def removal_order(channels: Channels, deciders: Sequence[Decider], *, minimum: int = 1, round_to: int = 1) -> Removal:
    """Merge the orders of all deciders into one, least important first, as far as every layer stays wide enough.

    Parameters
    ----------
    channels : Channels
        Of the network.
    deciders : sequence of Decider
        No two share a unit.
    minimum : int >= 1
        Filters that stay in every layer; layers that have fewer lose none.
    round_to : int >= 1
        Deciders that lose filters keep a multiple of this many.

    Examples
    --------
    >>> channels = Channels({"a": (1, 2, 3), "b": (4, 5)}, (), {})
    >>> a = Decider("a", (1, 2, 3), leaving=(3, 1, 2), importance=(0.1, 0.5, 2.0))
    >>> b = Decider("b", (4, 5), leaving=(4, 5), importance=(0.2, 0.9))
    >>> removal = removal_order(channels, [a, b])
    >>> removal.order, removal.state(2), sorted(removal.doomed((2, 1)))
    ((0, 1, 0), (1, 1), [1, 3, 4])
    """
    floors = _floors(channels, minimum)
    touched: dict[int, list[int]] = {}
    for place, (counts, _) in enumerate(floors):
        for unit in counts:
            touched.setdefault(unit, []).append(place)
    left = [sum(counts.values()) for counts, _ in floors]
    queue = sorted(
        (importance, index, position)
        for index, decider in enumerate(deciders)
        for position, importance in enumerate(decider.importance)
    )
    leaving: list[list[tuple[int, float]]] = [[] for _ in deciders]
    order = []
    for importance, index, position in queue:
        unit = deciders[index].leaving[position]
        places = touched.get(unit, [])
        if any(left[place] - floors[place][0][unit] < floors[place][1] for place in places):
            continue
        for place in places:
            left[place] -= floors[place][0][unit]
        leaving[index].append((unit, importance))
        order.append(index)
    chosen = tuple(
        Decider(d.name, d.units, tuple(unit for unit, _ in mine), tuple(value for _, value in mine))
        for d, mine in zip(deciders, leaving, strict=True)
    )
    return Removal(chosen, tuple(order), tuple(_allowed(decider, round_to) for decider in chosen))


def _floors(channels: Channels, minimum: int) -> list[tuple[dict[int, int], int]]:
    """Return unit → multiplicity for everything that may not get too small, and how much must be left of it."""
    floors: dict[tuple[int, ...], int] = {}
    for units in channels.filters.values():
        floors[units] = max(floors.get(units, 0), min(minimum, len(units)))
    for cut in channels.cuts:  # nor may a layer be left without channels to read
        floors.setdefault(cut.units, 1)
    found = []
    for units, least in floors.items():
        counts: dict[int, int] = {}
        for unit in units:
            counts[unit] = counts.get(unit, 0) + 1
        found.append((counts, least))
    return found


def _allowed(decider: Decider, round_to: int) -> tuple[int, ...]:
    width, allowed = len(decider.units), [0]
    for count, size in enumerate(decider.sizes(), start=1):
        width -= size
        if width % round_to == 0:
            allowed.append(count)
    return tuple(allowed)
