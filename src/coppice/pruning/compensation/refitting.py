"""Refitting: layers behind a cut are made, one after the other, to give what they gave before it."""

from collections.abc import Collection
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coppice.core.errors import CoppiceError
from coppice.core.modes import eval_mode
from coppice.core.progress import progress_bar
from coppice.pruning.compensation.readers import Conv, columns_of, is_followed, is_reader
from coppice.pruning.compensation.refitted_layer import MOST_COLUMNS, RefittedLayer, is_wide, run
from coppice.pruning.tracing.channels import Channels
from coppice.pruning.tracing.norms_behind import norms_behind
from coppice.pruning.tracing.stored import Stored


def reading_modules(network: nn.Module, channels: Channels, units: Collection[int]) -> dict[str, list[str]]:
    """Return the layers that read channels of some units, with the names of the weights that do.

    Parameters
    ----------
    network : nn.Module
    channels : Channels
        Of this network.
    units : collection of int

    Examples
    --------
    >>> from coppice.pruning.tracing.channels import trace
    >>> net = nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU(), nn.Conv1d(2, 3, 3))
    >>> reading_modules(net, trace(net, torch.zeros(1, 1, 8)), {1})
    {'2': ['2.weight']}
    """
    modules = dict(network.named_modules())
    found: dict[str, list[str]] = {}
    magnitudes = {norm.magnitude for norm in channels.norms}  # go with their directions
    for cut in channels.cuts:
        if cut.reads and cut.tensor not in magnitudes and not set(cut.units).isdisjoint(units):
            holder = owner = cut.tensor.rpartition(".")[0]
            while owner and not is_followed(modules[owner]):
                owner = owner.rpartition(".")[0]  # a parametrization of the layer holds its weight
            found.setdefault(owner or holder, []).append(cut.tensor)
    return found


def order_of_runs(network: nn.Module, inputs: Float[Tensor, "clips *shape"]) -> dict[str, int]:
    """Return how often each convolution, linear and recurrent layer runs, in the order in which they first do.

    Examples
    --------
    >>> order_of_runs(nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU(), nn.Conv1d(2, 3, 3)), torch.zeros(1, 1, 8))
    {'0': 1, '2': 1}
    """
    times: dict[str, int] = {}

    def count(name: str) -> Any:
        return lambda *_: times.update({name: times.get(name, 0) + 1})

    handles = [
        module.register_forward_pre_hook(count(name)) for name, module in network.named_modules() if is_followed(module)
    ]
    try:
        run(network, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return times


def refit_(
    pruned: nn.Module,
    original: nn.Module,
    channels: Channels,
    doomed: Collection[int],
    inputs: Float[Tensor, "clips *shape"],
    *,
    following: bool,
    ridge: float | None,
) -> dict[str, float | None]:
    """Refit, in place, the layers of a pruned network that read cut channels, and those behind them.

    In the order in which the layers run, each is fitted by ridge regression so that on the given inputs, from what it
    reads in the pruned network as it is by then, it makes what it makes in the original one. A convolution with more
    than :data:`~coppice.pruning.compensation.refitted_layer.MOST_COLUMNS` columns is not refitted tap by tap: the
    channels that it lost are fitted by those that stay, and what it did with them it does with these.

    Parameters
    ----------
    pruned : nn.Module
        ``original`` without the doomed units; changed.
    original : nn.Module
        Not touched.
    channels : Channels
        Of ``original``.
    doomed : collection of int
        The units that were cut.
    inputs : Tensor [shape=(clips, ...)]
        Two or more inputs of the networks.
    following : bool
        Also refit the layers behind those that read cut channels.
    ridge : float > 0 or None
        See :func:`~coppice.pruning.compensation.least_squares.fit`.

    Returns
    -------
    dict of str to (float or None)
        The layers that were refitted and the ridge of each; None where only its bias changed.

    Raises
    ------
    CoppiceError
        If a layer that reads cut channels cannot be refitted, or what it reads is not finite.
    """
    broken = reading_modules(original, channels, doomed)
    times = order_of_runs(pruned, inputs[:1])
    stored = Stored(pruned, channels.norms)
    for name, tensors in broken.items():
        reason = _why_not(pruned.get_submodule(name), tensors, stored, times.get(name, 0))
        if reason is not None:
            raise CoppiceError(
                f"{tensors[0]!r} reads cut channels but cannot be refitted: {reason}; compensate by merge, or leave "
                "the layers before it whole."
            )
    names = list(times)
    first = min((names.index(name) for name in broken), default=len(names))
    weights = dict(broken)
    for name in names[first:] if following else []:
        module = pruned.get_submodule(name)
        if name not in broken and is_reader(module):
            directions = [norm.direction for norm in channels.norms]
            tensor = next((own for own in directions if own.startswith(f"{name}.")), f"{name}.weight")
            if _why_not(module, [tensor], stored, times[name]) is None and not is_wide(module, stored.read(tensor)):
                weights[name] = [tensor]
    behind = norms_behind(pruned, [name for name in weights if is_reader(pruned.get_submodule(name))], inputs[:1])
    done: dict[str, float | None] = {}
    with eval_mode(pruned), eval_mode(original), torch.no_grad(), progress_bar("refitting", len(weights)) as advance:
        for name in sorted(weights, key=names.index):
            for tensor in weights[name]:
                read = next((cut.units for cut in channels.cuts if cut.tensor == tensor and cut.reads), ())
                made = channels.filters.get(name, ())
                layer = RefittedLayer(name, tensor, times[name], made, read, doomed, behind.get(name))
                if layer.is_comparable(pruned, original, inputs[:1]):
                    done[name] = layer.refit_(pruned, original, channels.norms, inputs, ridge)
                elif name in broken:
                    raise CoppiceError(
                        f"{tensor!r} reads cut channels but cannot be refitted: it reads other places in the pruned "
                        "network than in the original one; compensate by merge."
                    )
            advance(1, name)
    return done


def _why_not(module: nn.Module, tensors: list[str], stored: Stored, runs: int) -> str | None:
    """Say why a layer cannot be refitted; None where it can."""
    if not is_followed(module):
        return f"a {type(module).__name__} is neither a convolution nor a linear or recurrent layer"
    if not runs:
        return "its layer does not run, or not through its own forward"
    if any(name not in stored for name in tensors):
        return "its weights are computed, not stored"
    if any(stored.is_shared(name) for name in tensors):
        return "several layers share it"
    columns = max(columns_of(module, stored.read(name)) for name in tensors)
    channels = module.in_channels if isinstance(module, Conv) and module.groups == 1 else columns
    if columns > MOST_COLUMNS and int(channels) > MOST_COLUMNS:
        return f"it has {columns} columns, more than the {MOST_COLUMNS} whose products are kept"
    return None
