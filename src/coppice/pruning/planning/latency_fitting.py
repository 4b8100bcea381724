"""Find widths that hold a latency on this machine, where time does not follow the MACs."""

import copy
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor, nn

from coppice.complexity.latency_table import LatencyTable
from coppice.core.progress import Advance, progress_bar
from coppice.core.units import percent_text
from coppice.pruning.planning.budget import Budget
from coppice.pruning.planning.costs import Costs
from coppice.pruning.planning.fitting import bounded_counts, excess, limits, unreachable
from coppice.pruning.planning.removal import Decider, Removal, State
from coppice.pruning.surgery.prune import cut_

WIDTHS = 8  # tried of each layer
ROUNDS = 8  # of looking for the widths whose measured time is what was predicted
CLOSE = 0.93  # of the bound: as near as is worth another round
UNSTEADY = 0.15
NOTHING, LITTLE, MUCH_MORE = 0.01, 0.1, 3.0  # of the time; and share of the MACs ÷ share of the time


def fit_latency(
    network: nn.Module,
    example: Float[Tensor, "1 *shape"],
    budget: Budget,
    costs: Costs,
    removal: Removal,
    table: LatencyTable,
    *,
    constraints: Sequence[str],
) -> tuple[State, list[str]]:
    """Return a state in which the pruned network, measured, holds the latency, and all bounds on counts hold.

    Time falls in steps, so that the least important filter is not always worth removing. Each layer is tried at a few
    widths; the step that takes most of what is over the budget for the least importance is taken until the predicted
    latency holds (a greedy knapsack, as in Shen et al., "Structural pruning via latency-saliency knapsack", NeurIPS
    2022); a filter counts the more, the smaller the share of its layer that is left, so that no layer is cut to the
    bone for its speed alone. Then filters whose removal gained nothing come back.

    The prediction is the sum of the measured times of all products at their widths, plus what is left of the measured
    network, which is taken to fall with the values that the other operators write: exact for the whole and for the
    smallest network, approximate between them. So the pruned network is measured, and predictions are asked for less or
    more until the measured time holds, and is near the bound. Where no prediction leads there, filters leave in the
    order of their importance, measured step by step.

    Parameters
    ----------
    network : nn.Module
        Not touched.
    example : Tensor [shape=(1, ...)]
    budget : Budget
        With ``latency_ms``.
    costs : Costs
    removal : Removal
    table : LatencyTable
        Times of single products; saved however this ends, so that an interrupted call goes on from there.
    constraints : sequence of str
        What else was asked for, for the message.

    Returns
    -------
    tuple
        The state, and sentences on what was measured and which layers gain nothing.

    Raises
    ------
    CoppiceError
        If no state holds the budget, with the nearest that was measured.
    """
    with table.saved():
        search = _Search(network, example, budget, costs, removal, table)
        return search.run(constraints)


@dataclass(frozen=True)
class _Measured:
    """A state whose network was measured, in turn with the whole one, and the bound that follows from that."""

    state: State
    ms: float
    whole_ms: float
    limit_ms: float
    counts_hold: bool

    @property
    def share(self) -> float:
        return self.ms / self.limit_ms

    @property
    def holds(self) -> bool:
        return self.counts_hold and self.share <= 1


@dataclass(eq=False)
class _Search:
    network: nn.Module
    example: Tensor
    budget: Budget
    costs: Costs
    removal: Removal
    table: LatencyTable
    grid: list[tuple[int, ...]] = field(init=False)
    whole: State = field(init=False)

    def __post_init__(self) -> None:
        self.grid = [
            _widths_tried(decider, allowed)
            for decider, allowed in zip(self.removal.deciders, self.removal.allowed, strict=True)
        ]
        self.whole = (0,) * len(self.grid)
        self.allowed = limits(self.budget, self.costs)
        self._totals: dict[State, tuple[float, int]] = {}
        self._tried: dict[State, _Measured] = {}
        ends = self.table.runtime.networks_ms(
            {"whole": self.network, "least": shrunk(self.network, self.costs, self.removal.doomed(self.removal.least))},
            self.example,
        )
        self.ends_ms = ends["whole"], ends["least"]
        self.limit_ms = float(self.budget.limit("latency_ms", self.ends_ms[0]))

    def run(self, constraints: Sequence[str]) -> tuple[State, list[str]]:
        with progress_bar("measuring layers", sum(len(numbers) - 1 for numbers in self.grid)) as advance:
            alone = [self._alone(index, advance) for index in range(len(self.grid))]
        with progress_bar("choosing widths", sum(len(numbers) - 1 for numbers in self.grid)) as advance:
            best = self._by_prediction(advance) or self._by_importance()
        if best is None:
            tried = [(one.ms, one.whole_ms) for one in self._tried.values() if one.counts_hold]
            nearest_ms, whole_ms = min(tried, key=lambda times: times[0] / times[1])
            nearest = f"{rounded_up(nearest_ms)} of {whole_ms:.3g}"
            raise unreachable(self.budget, {"latency_ms": nearest}, constraints)
        return best.state, self._remarks(best, alone)

    def _by_prediction(self, advance: Advance) -> _Measured | None:
        """Return the state nearest to the bound of those that predictions lead to, None if none holds."""
        best: _Measured | None = None
        target_ms, holds_ms, too_slow_ms = self.limit_ms, 0.0, math.inf
        for _ in range(ROUNDS):
            state = self._give_back(self._cut_until(target_ms, advance), target_ms)
            seen, found = state in self._tried, self._measured(state)
            if found.holds:
                best = found if best is None or found.share > best.share else best
                holds_ms = target_ms
                if seen or state == self.whole or found.share >= CLOSE:
                    break
            else:
                too_slow_ms = target_ms
                if state == self.removal.least:
                    break
            if holds_ms and too_slow_ms < math.inf:
                target_ms = (holds_ms + too_slow_ms) / 2
            else:
                # Too far down is worth another round as well, so better past the bound than slowly towards it.
                target_ms *= 1 / found.share if found.holds else min(0.95, found.share**-2)
        return best

    def _by_importance(self) -> _Measured | None:
        """Return the first state that holds along the order of importance, None if none does."""
        self._tried.pop(self.removal.least, None)  # nothing is refused for a single measurement
        state = self.removal.first_state(lambda state: self._measured(state).holds)
        return None if state is None else self._measured(state)

    def predicted(self, state: State) -> float:
        """Return the predicted latency of a state in milliseconds."""
        (products, values), (all_products, all_values), (few_products, few_values) = (
            self._total(one) for one in (state, self.whole, self.removal.least)
        )
        rest, least_rest = self.ends_ms[0] - all_products, self.ends_ms[1] - few_products
        share = (values - few_values) / (all_values - few_values) if all_values > few_values else 1.0
        return products + least_rest + share * (rest - least_rest)

    def _total(self, state: State) -> tuple[float, int]:
        """Return the summed time of all products, and how many values other operators write."""
        if state not in self._totals:
            left = self.costs.left(self.removal.doomed(state))
            products = sum(self.table.ms(product.narrowed(left)) for product in self.costs.products)
            self._totals[state] = products, self.costs.total(self.costs.values, left)
        return self._totals[state]

    def _over(self, state: State, target_ms: float) -> float:
        """Return by how much a state exceeds the bounds, as shares of them, summed."""
        over = max(0.0, self.predicted(state) / target_ms - 1)
        counts = bounded_counts(self.budget, self.costs.counts(self.removal.doomed(state)))
        return over + sum(max(0.0, counts[name] / max(limit, 1) - 1) for name, limit in self.allowed.items())

    def _cut_until(self, target_ms: float, advance: Advance) -> State:
        state = self.whole
        over = self._over(state, target_ms)
        while over > 0 and state != self.removal.least:
            steps = [
                (moved, self._lost(index, state[index], count))
                for index, numbers in enumerate(self.grid)
                for count in numbers
                if count > state[index]
                for moved in [(*state[:index], count, *state[index + 1 :])]
            ]
            gains = [(over - self._over(moved, target_ms)) / (lost + 1e-12) for moved, lost in steps]
            # Where nothing helps alone, the step that costs least gets past the plateau.
            best, cheapest = gains.index(max(gains)), min(steps, key=lambda step: step[1])
            state = steps[best][0] if gains[best] > 0 else cheapest[0]
            over = self._over(state, target_ms)
            advance(1, f"{self.predicted(state):.3g} ms")
        return state

    def _give_back(self, state: State, target_ms: float) -> State:
        """Return the state with as many filters as the predicted bounds allow, the most important first."""
        if self._over(state, target_ms) > 0:
            return state
        worth = [
            (decider.importance[count - 1], index)
            for index, (decider, count) in enumerate(zip(self.removal.deciders, state, strict=True))
            if count
        ]
        for _, index in sorted(worth, reverse=True):
            for count in self.grid[index]:
                moved = (*state[:index], count, *state[index + 1 :])
                if count < state[index] and self._over(moved, target_ms) == 0:
                    state = moved
                    break
        return state

    def _lost(self, index: int, before: int, after: int) -> float:
        """Return the importance of units that leave, each the more the fewer filters of the layer are left."""
        decider = self.removal.deciders[index]
        filters, sizes = len(decider.units), decider.sizes()
        left = filters - sum(sizes[:before])
        lost = 0.0
        for value, size in zip(decider.importance[before:after], sizes[before:after], strict=True):
            lost += value * filters / left
            left -= size
        return lost

    def _measured(self, state: State) -> _Measured:
        """Measure a state's network in turn with the whole one, once."""
        if state not in self._tried:
            small = shrunk(self.network, self.costs, self.removal.doomed(state))
            times = self.table.runtime.networks_ms({"whole": self.network, "pruned": small}, self.example)
            limit_ms = float(self.budget.limit("latency_ms", times["whole"]))
            counts_hold = not excess(self.budget, self.costs, self.removal, state, self.allowed)
            self._tried[state] = _Measured(state, times["pruned"], times["whole"], limit_ms, counts_hold)
        return self._tried[state]

    def _alone(self, index: int, advance: Advance) -> list[tuple[int, float, int]]:
        """Return filters left, predicted milliseconds and MACs of one layer at all its widths, the others whole."""
        decider, curve = self.removal.deciders[index], []
        sizes = decider.sizes()
        for count in self.grid[index]:
            state = (*self.whole[:index], count, *self.whole[index + 1 :])
            macs = self.costs.counts(self.removal.doomed(state)).macs
            curve.append((len(decider.units) - sum(sizes[:count]), self.predicted(state), macs))
            advance(1 if count else 0, decider.name)
        return curve

    def _remarks(self, found: _Measured, alone: Sequence[list[tuple[int, float, int]]]) -> list[str]:
        remarks = [
            f"latency_ms: {found.whole_ms:.3g} before, {found.ms:.3g} after, both measured, "
            f"{self.predicted(found.state):.3g} predicted; at most {found.limit_ms:.3g} ({self.table.runtime.name})."
        ]
        drift = abs(found.whole_ms / self.ends_ms[0] - 1)
        if drift > UNSTEADY:
            remarks.append(
                f"The same network took {percent_text(drift)} more or less time at the end than at the start: other "
                "programs were running; plan again when they are not."
            )
        for decider, curve in zip(self.removal.deciders, alone, strict=True):
            if (flat := plateau(curve)) is not None:
                width, least, saved_time, saved_macs = flat
                much = "nothing" if saved_time <= NOTHING else "little"
                remarks.append(
                    f"{decider.name} below {width} filters gains {much} here: going down to {least} saves "
                    f"{percent_text(saved_time)} of the time and {percent_text(saved_macs)} of the MACs."
                )
        return remarks


def plateau(curve: Sequence[tuple[int, float, int]]) -> tuple[int, int, float, float] | None:
    """Find the widest width of a layer below which time hardly falls although MACs do.

    Parameters
    ----------
    curve : sequence of (filters, milliseconds, MACs)
        Of the whole network, widest layer first.

    Returns
    -------
    tuple or None
        That width, the least width, at least a quarter of the filters below, and the shares of the whole network's time
        and MACs between the two: at most 10 % of the time, and at least 5 % of the MACs and three times the share of
        time. None if there is no such width.

    Examples
    --------
    >>> plateau([(16, 3.0, 290), (12, 2.95, 220), (8, 2.92, 150), (4, 2.9, 80)])
    (16, 4, 0.0333..., 0.7241...)
    >>> plateau([(16, 3.0, 290), (8, 1.5, 150), (4, 0.8, 80)]) is None
    True
    """
    (_, whole_ms, whole_macs), (least, least_ms, least_macs) = curve[0], curve[-1]
    for width, ms, macs in curve[:-1]:
        saved_time = (ms - min(one[1] for one in curve[1:] if one[0] < width)) / whole_ms
        saved_macs = (macs - least_macs) / whole_macs
        if 4 * (width - least) < curve[0][0]:
            return None
        if saved_time <= LITTLE and saved_macs >= max(LITTLE / 2, MUCH_MORE * saved_time):
            return width, least, max(0.0, (ms - least_ms) / whole_ms), saved_macs
    return None


def rounded_up(value: float) -> str:
    """Write a positive number with three digits that count, never less than it is.

    Examples
    --------
    >>> rounded_up(0.04711), rounded_up(2.5), rounded_up(1234.5)
    ('0.0472', '2.5', '1235')
    """
    scale = 10.0 ** max(0, 2 - math.floor(math.log10(value)))
    return f"{math.ceil(value * scale) / scale:.15g}"


def shrunk(network: nn.Module, costs: Costs, doomed: Collection[int]) -> nn.Module:
    """Return a network without some units; it shares the tensors that stay as they are."""
    tensors = [*network.parameters(), *network.buffers()]
    small = copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})
    cut_(small, costs.channels, doomed)
    return small


def _widths_tried(decider: Decider, allowed: Sequence[int]) -> tuple[int, ...]:
    """Return about eight of the allowed numbers of units that leave, and those that leave multiples of 8 filters."""
    filters, sizes = len(decider.units), decider.sizes()
    left = {count: filters - sum(sizes[:count]) for count in allowed}
    wanted = [filters * step / WIDTHS for step in range(1, WIDTHS)]
    wanted += [float(width) for width in range(8, min(filters, 8 * WIDTHS), 8)]
    nearest = {min(allowed, key=lambda count: abs(left[count] - width)) for width in wanted}
    return tuple(sorted({0, allowed[-1]} | nearest))
