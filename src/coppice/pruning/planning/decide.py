"""The verb that decides which filters go; it never touches weights."""

from collections.abc import Iterable, Mapping

from jaxtyping import Float, Int
from torch import Tensor, nn

from coppice.complexity.latency_runtimes import latency_runtime
from coppice.complexity.latency_table import LatencyTable
from coppice.core.errors import CoppiceError, did_you_mean
from coppice.criteria.ranking import Ranking
from coppice.networks.classifier import Classifier, as_network
from coppice.pruning.doomed import doomed_units
from coppice.pruning.evidence.rankings import rankings
from coppice.pruning.plan import LayerPlan, PruningPlan
from coppice.pruning.planning.budget import Budget
from coppice.pruning.planning.costs import trace_costs
from coppice.pruning.planning.fitting import counts_remarks, fit_counts, listed
from coppice.pruning.planning.importance import NORMALISATIONS, check_normalisation, importance, leaving_order
from coppice.pruning.planning.latency_fitting import fit_latency
from coppice.pruning.planning.layerwise import check_coupled, deciding_layers, kept_filters
from coppice.pruning.planning.removal import Decider, Removal, State, removal_order
from coppice.pruning.planning.requests import check_rounding, checked_whole, kept_count, protected, wanted_counts
from coppice.pruning.tracing.channels import trace

SCOPES = ("layer", "network")


def plan(
    model: Classifier | nn.Module,
    criterion: str,
    *,
    example: Float[Tensor, "1 *shape"] | None = None,
    keep: Mapping[str, int] | None = None,
    ratios: Mapping[str, float] | float | None = None,
    budget: Budget | None = None,
    layers: Iterable[str] | None = None,
    protect: Iterable[str] = (),
    scope: str | None = None,
    normalisation: str = "mean",
    rounding: str = "ceil",
    round_to: int = 1,
    minimum: int = 1,
    seed: int = 0,
    clips: Float[Tensor, "clips *shape"] | None = None,
    targets: Int[Tensor, " clips"] | None = None,
    latencies: LatencyTable | None = None,
) -> PruningPlan:
    """Decide which filters go.

    With ``keep`` or ``ratios`` the layers they name lose their lowest-ranked filters. With ``budget``, filters
    go, the least important of the whole network first, until all bounds hold and no earlier: a tighter budget
    only removes more. With none of these the method's own set decides for ``layers``.

    Of layers that are coupled (their outputs are added, say) the one that runs first among those asked for
    decides, ranked on its own weights. Filters of one layer that are coupled among themselves leave together,
    those with the lowest summed rank first, and never so many that fewer stay than asked for.

    Parameters
    ----------
    model : Classifier or nn.Module
        Not touched.
    criterion : str
        Name of a criterion.
    example : Tensor, optional
        One input for a bare module, batch of 1.
    keep : mapping of str to int, optional
        Layer name → number of filters that stay, 1 to all.
    ratios : mapping of str to float, or float, optional
        Layer name → fraction *removed*, between 0 and 1; ``(1 − ratio) · filters`` stay, rounded. One number is for
        every layer of ``layers``, or with ``scope="network"`` for all their filters taken together.
    budget : Budget, optional
        Upper bounds on parameters, MACs, bytes and latency, counted on the pruned network as
        :func:`coppice.profile` counts. A latency is measured, and the plan kept only if the pruned network holds it.
    layers : iterable of str, optional
        Which layers, when ``keep`` and ``ratios`` do not name them; by default all convolutions that can be
        cut.
    protect : iterable of str
        Layers that keep all their filters, as do layers coupled to them.
    scope : {"layer", "network"}, optional
        ``network``: filters of all layers are compared, which is what a budget does if nothing is said. ``layer``:
        every layer is cut by itself, which is what ratios do; with a budget all layers lose the same share.
    normalisation : {"mean", "l2"}
        How scores are made comparable for ``scope="network"``, see
        :func:`coppice.pruning.planning.importance.importance`.
    rounding : {"ceil", "floor"}
        Of ``(1 − ratio) · filters``.
    round_to : int >= 1
        Layers that lose filters keep a multiple of this many, rounded up, or all. Not for ``keep``.
    minimum : int >= 1
        Filters that stay in every layer; a layer that has fewer keeps all.
    seed : int >= 0
        For criteria that draw random numbers.
    clips, targets : Tensor, optional
        For criteria that look at more than weights: see :func:`~coppice.pruning.evidence.rankings.rankings`.
    latencies : LatencyTable, optional
        Times of single layers for a budget on latency, in a runtime of your own or with more threads; by default those
        in the budget's runtime on this machine with one thread, kept on the disk.

    Returns
    -------
    PruningPlan
        With what was asked for in ``decided_by`` and what came of it in ``remarks``.

    Raises
    ------
    CoppiceError
        If a layer or the criterion does not exist, a number is out of range, a layer cannot be cut (such as
        the output), requests for coupled layers disagree, the criterion has no set of its own, or no network
        that may be made holds the budget: then with the figures that can be reached.

    Examples
    --------
    >>> import torch
    >>> net = nn.Sequential(nn.Conv1d(1, 8, 3), nn.ReLU(), nn.Conv1d(8, 2, 3))
    >>> decided = plan(net, "l1", ratios=0.25, example=torch.zeros(1, 1, 16))
    >>> [(layer.name, layer.filters, len(layer.keep)) for layer in decided.layers]
    [('0', 8, 6)]
    >>> decided = plan(net, "l1", budget=Budget(macs="60%"), example=torch.zeros(1, 1, 16))
    >>> len(decided.keep("0")), decided.remarks[1]
    (4, 'macs: 912 before, 456 after (50.0 %); at most 547.')
    """
    if isinstance(layers, str):
        raise CoppiceError(f"layers is {layers!r}; give a list of names, such as [{layers!r}].")
    if budget is not None and not isinstance(budget, Budget):
        raise CoppiceError(f'budget is {budget!r}; give a Budget, such as Budget(macs="50%").')
    if budget is not None and (keep is not None or ratios is not None):
        raise CoppiceError("give a budget, or keep and ratios, not both.")
    table = _table(budget, latencies)
    scope = scope or ("layer" if budget is None else "network")
    if scope not in SCOPES:
        raise CoppiceError(f"there is no scope {scope!r}. {did_you_mean(str(scope), SCOPES)}")
    if scope == "network" and budget is None and (ratios is None or isinstance(ratios, Mapping) or keep is not None):
        raise CoppiceError("scope='network' compares the filters of all layers; give one ratio, or a budget.")
    check_normalisation(normalisation)
    check_rounding(rounding)
    checked_whole(round_to, "round_to", 8)
    checked_whole(minimum, "minimum", 4)
    if keep is not None and (round_to > 1 or minimum > 1):
        raise CoppiceError("keep says exactly how many filters stay; leave out round_to and minimum, or give ratios.")
    layers = None if layers is None else list(layers)
    protect = [protect] if isinstance(protect, str) else list(protect)
    network, example = as_network(model, example)
    costs = trace_costs(network, example) if scope == "network" or budget is not None else None
    whole = trace(network, example) if costs is None else costs.channels
    channels = protected(network, whole, protect)
    wanted = wanted_counts(network, channels, keep=keep, ratios=ratios, layers=layers, rounding=rounding)
    deciding = deciding_layers(channels, wanted)
    ranked = rankings(model, criterion, layers=deciding, seed=seed, example=example, clips=clips, targets=targets)
    constraints = [f"minimum={minimum}"] * (minimum > 1) + [f"round_to={round_to}"] * (round_to > 1)
    constraints += [f"{name!r} protected" for name in protect]
    remarks: list[str] = []
    if costs is None:
        kept = {
            name: kept_filters(ranked[name], channels.units(name), wanted[name], round_to=round_to, minimum=minimum)
            for name in deciding
        }
        if layers is not None or keep is not None or isinstance(ratios, Mapping):
            check_coupled(channels, wanted, kept, round_to=round_to, minimum=minimum)
        decided_by = _asked(keep, ratios, rounding)
    else:
        deciders = [_decider(name, channels.units(name), ranked[name], scope, normalisation) for name in deciding]
        removal = removal_order(channels, deciders, minimum=minimum, round_to=round_to)
        if budget is None:
            assert isinstance(ratios, int | float)
            state = _share_removed(removal, ratios, rounding)
            decided_by = f"ratio {ratios} of all filters"
        else:
            limits = constraints if minimum > 1 else ["minimum=1", *constraints]
            limits = limits if layers is None else [*limits, f"only {listed([repr(name) for name in layers])} cut"]
            state = fit_counts(budget, costs, removal, constraints=limits)
            if table is not None:
                state, remarks = fit_latency(network, example, budget, costs, removal, table, constraints=limits)
            decided_by = "budget " + ", ".join(f"{name} {bound}" for name, bound in budget.bounds.items())
            decided_by += f" in {budget.runtime}" if budget.runtime else ""
        doomed = removal.doomed(state)
        kept = {
            name: tuple(index for index, unit in enumerate(channels.units(name)) if unit not in doomed)
            for name in deciding
        }
        remarks = [*counts_remarks(budget, costs, doomed), *remarks]
        scores = f"scores {NORMALISATIONS[normalisation][1]} are compared across layers"
        decided_by += "; " + (scores if scope == "network" else "all layers lose the same share")
    entries = tuple(
        LayerPlan(name, len(whole.units(name)), kept[name], whole.coupled_layers(name)) for name in deciding
    )
    remarks += [
        f"{entry.name} decides for {listed(entry.coupled)}: their filters live and die together."
        for entry in entries
        if entry.coupled
    ]
    made = PruningPlan(criterion, entries, "; ".join([decided_by, *constraints]), tuple(remarks))
    doomed_units(whole, made)
    return made


def _table(budget: Budget | None, latencies: LatencyTable | None) -> LatencyTable | None:
    if budget is None or budget.latency_ms is None:
        return None
    if latencies is None:
        return LatencyTable.on_disk(latency_runtime(budget.runtime or "torch"))
    if budget.runtime is not None:
        raise CoppiceError(
            f"the budget's runtime is {budget.runtime!r}, and latencies are times in {latencies.runtime.name}; give "
            "one of the two."
        )
    return latencies


def _asked(keep: Mapping[str, int] | None, ratios: Mapping[str, float] | float | None, rounding: str) -> str:
    parts = [f"keep {name} {count}" for name, count in (keep or {}).items()]
    if isinstance(ratios, Mapping):
        parts += [f"ratio {name} {ratio}" for name, ratio in ratios.items()]
    elif ratios is not None:
        parts.append(f"ratio {ratios} of every layer")
    if ratios is not None and rounding != "ceil":
        parts.append(f"rounding {rounding}")
    return ", ".join(parts) or "the method's own set"


def _decider(name: str, units: tuple[int, ...], ranking: Ranking, scope: str, normalisation: str) -> Decider:
    groups = leaving_order(ranking, units)
    if scope == "layer":
        values = [place / len(groups) for place in range(1, len(groups) + 1)]
    else:
        values = importance(ranking, groups, normalisation=normalisation)
    return Decider(name, units, tuple(units[group[0]] for group in groups), tuple(values))


def _share_removed(removal: Removal, ratio: float, rounding: str) -> State:
    """Return the state with at most a share of all filters of the deciders gone."""
    filters = sum(len(decider.units) for decider in removal.deciders)
    most = filters - kept_count(filters, ratio, name="all layers", rounding=rounding)
    sizes = [iter(decider.sizes()) for decider in removal.deciders]
    steps = 0
    for index in removal.order:
        most -= next(sizes[index])
        if most < 0:
            break
        steps += 1
    return removal.state(steps)
