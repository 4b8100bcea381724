"""Go along the order of removal until a network holds a budget of counts, or say how near it can come."""

from collections.abc import Mapping, Sequence

from coppice.core.errors import CoppiceError
from coppice.core.units import percent_text
from coppice.pruning.planning.budget import NUMBER_BYTES, Budget
from coppice.pruning.planning.costs import Costs, Counts
from coppice.pruning.planning.removal import Removal, State


def bounded_counts(budget: Budget, counts: Counts) -> dict[str, int]:
    """Return the counts that a budget may bound, under its names.

    Examples
    --------
    >>> bounded_counts(Budget(bytes=100), Counts(params=10, macs=30, numbers=12))
    {'params': 10, 'macs': 30, 'bytes': 48}
    """
    size_bytes = counts.numbers * NUMBER_BYTES[budget.stored_as]
    return {"params": counts.params, "macs": counts.macs, "bytes": size_bytes}


def limits(budget: Budget, costs: Costs) -> dict[str, int]:
    """Return the bounds on counts as whole numbers."""
    whole = costs.counts()
    return budget.limits(params=whole.params, macs=whole.macs, numbers=whole.numbers)


def excess(budget: Budget, costs: Costs, removal: Removal, state: State, allowed: Mapping[str, int]) -> dict[str, int]:
    """Return the counts that are above what is allowed in a state."""
    counts = bounded_counts(budget, costs.counts(removal.doomed(state)))
    return {name: counts[name] for name, limit in allowed.items() if counts[name] > limit}


def fit_counts(budget: Budget, costs: Costs, removal: Removal, *, constraints: Sequence[str]) -> State:
    """Return the state nearest to the whole network in which all bounds on counts hold.

    Parameters
    ----------
    budget : Budget
        Its latency is not looked at.
    costs : Costs
    removal : Removal
    constraints : sequence of str
        What else was asked for, for the message.

    Raises
    ------
    CoppiceError
        If the smallest network is still too large; names what blocks, and figures that can be reached together.
    """
    allowed = limits(budget, costs)
    fitted = removal.first_state(lambda state: not excess(budget, costs, removal, state, allowed))
    if fitted is None:
        over = excess(budget, costs, removal, removal.least, allowed)
        raise unreachable(budget, {name: f"{count:,}" for name, count in over.items()}, constraints)
    return fitted


def unreachable(budget: Budget, nearest: Mapping[str, str], constraints: Sequence[str]) -> CoppiceError:
    """Return the error that says how near a network can come to the bounds that cannot hold."""
    reached = " and ".join(
        f"{name} cannot go below {figure} (the budget says {budget.bounds[name]})" for name, figure in nearest.items()
    )
    return CoppiceError(f"the budget cannot be met: {reached} with {listed(constraints)}.")


def counts_remarks(budget: Budget | None, costs: Costs, doomed: frozenset[int]) -> list[str]:
    """Return sentences on parameters, MACs and bytes before and after."""
    chosen = budget or Budget(macs="100%")
    before, after = bounded_counts(chosen, costs.counts()), bounded_counts(chosen, costs.counts(doomed))
    allowed = limits(budget, costs) if budget is not None else {}
    units = {"params": "", "macs": "", "bytes": f" in {chosen.stored_as}"}
    remarks = []
    for name, old in before.items():
        share = f" ({percent_text(after[name] / old)})" if old else ""
        bound = f"; at most {allowed[name]:,}" if name in allowed else ""
        remarks.append(f"{name}{units[name]}: {old:,} before, {after[name]:,} after{share}{bound}.")
    return remarks


def listed(parts: Sequence[str]) -> str:
    """Write a list as English does.

    Examples
    --------
    >>> listed(["minimum=4", "round_to=8", "'conv1' protected"])
    "minimum=4, round_to=8 and 'conv1' protected"
    """
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
