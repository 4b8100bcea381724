"""A plan held against a network: which units leave, or what is wrong with it."""

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.pruning.plan import PruningPlan
from coppice.pruning.tracing.channels import Channels


def doomed_units(channels: Channels, plan: PruningPlan) -> frozenset[int]:
    """Return the units of a network that leave under a plan.

    Parameters
    ----------
    channels : Channels
        Of the network that is to be cut.
    plan : PruningPlan
        What its layers keep.

    Raises
    ------
    CoppiceError
        If a layer is not in the network, has another number of filters, cannot lose what the plan takes, is
        coupled otherwise than the plan says, contradicts another, or would be left empty.

    Examples
    --------
    >>> from coppice.pruning.plan import LayerPlan
    >>> channels = Channels({"a": (1, 2, 3), "b": (0, 0)}, (), {"b": "reach the network's output"})
    >>> sorted(doomed_units(channels, PruningPlan(None, (LayerPlan("a", 3, (1,)),))))
    [1, 3]
    """
    doomed: set[int] = set()
    for layer in plan.layers:
        units = channels.units(layer.name)
        if len(units) != layer.filters:
            raise CoppiceError(
                f"the plan was made for {layer.filters} filters in {layer.name!r} but this network has "
                f"{len(units)} there; make the plan anew."
            )
        partners = channels.coupled_layers(layer.name)
        for name in layer.coupled:
            if name not in partners:
                hint = did_you_mean(name, partners) if partners else "It is coupled to none."
                raise CoppiceError(f"the plan couples {layer.name!r} to {name!r}; in this network it is not. {hint}")
        doomed |= channels.doomed(layer.name, layer.keep)
    for layer in plan.layers:
        units = channels.units(layer.name)
        torn = [index for index in layer.keep if units[index] in doomed]
        if torn:
            other = next(p for p in plan.layers if p is not layer and units[torn[0]] in channels.doomed(p.name, p.keep))
            raise CoppiceError(
                f"the plan contradicts itself: {layer.name!r} keeps filter {torn[0]}, which leaves with "
                f"filters of {other.name!r}, to which it is coupled; choose the same in both, or name one."
            )
    for name, own in channels.filters.items():
        if set(own) <= doomed:
            raise CoppiceError(f"the plan leaves {name!r} without filters; keep at least one that it depends on.")
    return frozenset(doomed)
