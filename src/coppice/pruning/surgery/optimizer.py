"""An optimizer goes on after surgery: the pruned network's parameters, with what was learnt about them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coppice.core.errors import CoppiceError
from coppice.networks.classifier import Classifier, as_network
from coppice.pruning.doomed import doomed_units
from coppice.pruning.plan import PruningPlan
from coppice.pruning.surgery.prune import kept_indices, sliced
from coppice.pruning.tracing.channels import trace


@dataclass(frozen=True)
class Rebound:
    """What became of the optimizer's state.

    Attributes
    ----------
    kept : tuple of str
        Parameters whose state is as before, or that had none.
    sliced : tuple of str
        Parameters whose state was cut as they were.
    dropped : tuple of str
        Parameters whose state was thrown away: it starts anew.
    """

    kept: tuple[str, ...]
    sliced: tuple[str, ...]
    dropped: tuple[str, ...]


def rebind_(
    optimizer: torch.optim.Optimizer,
    before: Classifier | nn.Module,
    after: Classifier | nn.Module,
    *,
    plan: PruningPlan | None = None,
    example: Float[Tensor, "1 *shape"] | None = None,
) -> Rebound:
    """Make an optimizer train the pruned network instead of the one it was made for, in place.

    Surgery makes new parameters. An optimizer that still holds the old ones trains nothing, without a word
    (a report to NNI, microsoft/nni issue 4521). Groups, learning rates and schedulers stay; of momenta and
    second moments stays what belongs to the filters that stay.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Changed in place, or not at all when the call fails. Parameters that are not of ``before`` stay in it.
    before : Classifier or nn.Module
        The network that the optimizer was made for.
    after : Classifier or nn.Module
        What surgery made of it; its parameters have the same names.
    plan : PruningPlan, optional
        With which ``after`` was cut: so that state can be cut likewise. Without it the state of every parameter
        that has changed its shape is dropped.
    example : Tensor, optional
        One input for a bare module, batch of 1; needed with ``plan``.

    Returns
    -------
    Rebound
        Whose state was kept, sliced or dropped, by parameter name.

    Raises
    ------
    CoppiceError
        If the optimizer holds no parameter of ``before``, ``after`` lacks one, or the plan does not lead from one to
        the other.

    Examples
    --------
    >>> from coppice.pruning.plan import LayerPlan
    >>> from coppice.pruning.surgery.prune import prune
    >>> net, example = nn.Sequential(nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Conv1d(4, 2, 3)), torch.ones(1, 1, 8)
    >>> optimizer = torch.optim.Adam(net.parameters())
    >>> net(example).sum().backward()
    >>> optimizer.step()
    >>> plan = PruningPlan(None, (LayerPlan("0", 4, (0, 2)),))
    >>> small = prune(net, plan, example=example)
    >>> rebind_(optimizer, net, small, plan=plan, example=example).sliced
    ('0.weight', '0.bias', '2.weight')
    >>> optimizer.param_groups[0]["params"][0] is small[0].weight
    True
    """
    old, new = (model.network if isinstance(model, Classifier) else model for model in (before, after))
    names = {id(parameter): name for name, parameter in old.named_parameters()}
    fresh = dict(new.named_parameters())
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    mine = {id(parameter): names[id(parameter)] for parameter in held if id(parameter) in names}
    if not mine:
        raise CoppiceError(
            f"the optimizer holds no parameter of {type(old).__name__}; give the one that it was made for."
        )
    for name in mine.values():
        if name not in fresh:
            raise CoppiceError(f"{type(new).__name__} has no parameter {name!r}; give what prune made of before.")
    kept = _kept(before, plan, example)
    states: dict[str, dict[str, Any]] = {}
    outcome: dict[str, str] = {}
    for parameter in held:
        if id(parameter) not in mine:
            continue
        name = mine[id(parameter)]
        axes = kept.get(name, {})
        shape = tuple(len(axes.get(axis, range(size))) for axis, size in enumerate(parameter.shape))
        if plan is not None and shape != fresh[name].shape:
            raise CoppiceError(
                f"{name!r} would have shape {shape} after this plan but has {tuple(fresh[name].shape)}; give the plan "
                "with which it was pruned."
            )
        state = optimizer.state.get(parameter, {})
        if not state or parameter.shape == fresh[name].shape:
            states[name], outcome[name] = dict(state), "kept"
        elif plan is not None and _follows(state, parameter):
            states[name] = {key: _cut(value, parameter, axes) for key, value in state.items()}
            outcome[name] = "sliced"
        else:
            states[name], outcome[name] = {}, "dropped"
    for group in optimizer.param_groups:
        group["params"] = [
            fresh[mine[id(parameter)]] if id(parameter) in mine else parameter for parameter in group["params"]
        ]
    for parameter in held:
        if id(parameter) in mine:
            optimizer.state.pop(parameter, None)
    for name, state in states.items():
        if state:
            optimizer.state[fresh[name]] = state
    return Rebound(*(tuple(n for n, what in outcome.items() if what == kind) for kind in ("kept", "sliced", "dropped")))


def _kept(
    before: Classifier | nn.Module, plan: PruningPlan | None, example: Tensor | None
) -> Mapping[str, Mapping[int, Sequence[int]]]:
    if plan is None:
        return {}
    network, example = as_network(before, example)
    channels = trace(network, example)
    return kept_indices(channels, doomed_units(channels, plan))


def _follows(state: Mapping[str, Any], parameter: Tensor) -> bool:
    """Say whether all of a state is either of the parameter's shape or the same for all of its elements."""
    tensors = [value for value in state.values() if isinstance(value, Tensor)]
    return all(value.shape == parameter.shape or value.numel() == 1 for value in tensors)


def _cut(value: Any, parameter: Tensor, axes: Mapping[int, Sequence[int]]) -> Any:
    if isinstance(value, Tensor) and value.shape == parameter.shape:
        return sliced(value, {axis: list(stay) for axis, stay in axes.items()})
    return value
