"""A common trunk by choice: members take the first layers of one of them, and their heads are fine-tuned to it."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.core.modes import eval_mode
from coppice.datasets.prepare import Prepared
from coppice.networks.classifier import Classifier, as_network
from coppice.training.settings import TrainingSettings
from coppice.training.train import at_home_in, finetune

_WEIGHTED = (nn.Linear, nn.modules.conv._ConvNd, nn.RNNBase)


def share_trunk(
    members: Mapping[str, Classifier],
    data: Prepared,
    *,
    until: str | None = None,
    settings: TrainingSettings | None = None,
    folder: Path | None = None,
) -> dict[str, Classifier]:
    """Give all members the first layers of the first one, and fine-tune what is behind them.

    This is our own way to take redundancy out of an ensemble; the papers on pruned ensembles sum over separate members.
    The trunk is frozen, running statistics included, so that the members have it in common bit for bit afterwards, and
    :func:`coppice.ensembles.build.ensemble` finds it, stores it and computes it once. It suits members that were pruned
    from one parent, whose first layers are close to one another; how close is told in the lineage.

    Parameters
    ----------
    members : mapping of name to Classifier
        Two or more. The first one gives the trunk and stays as it is; the others are left as they are, and new ones
        returned.
    data : Prepared
        With the front end and classes of the members.
    until : str, optional
        The last convolution or dense layer of the trunk, with the normalisation behind it. The deepest layer up to
        which all members have the same shapes, if not given; where that is the whole network, it has to be given.
    settings : TrainingSettings, optional
        How the heads are fine-tuned.
    folder : Path, optional
        Leaves a folder with the history of each member there.

    Returns
    -------
    dict of str to Classifier

    Raises
    ------
    CoppiceError
        If the members have no layers in common, or members and data do not go together.
    """
    if len(members) < 2:
        raise CoppiceError(f"a trunk is shared by two members or more, and there is {len(members)}.")
    named = {name: at_home_in(data, member) for name, member in members.items()}
    donor_name, donor = next(iter(named.items()))
    layers = trunk_layers(named, until=until)
    found = {donor_name: donor}
    for name, member in list(named.items())[1:]:
        network = copy.deepcopy(member.network)
        likeness = {
            layer: _likeness(network.get_submodule(layer), donor.network.get_submodule(layer)) for layer in layers
        }
        _take_(network, donor.network, layers)
        entry: dict[str, Any] = {
            "verb": "share trunk",
            "of": donor_name,
            "layers": list(layers),
            "correlation": likeness,
        }
        given = replace(member, band_mean=donor.band_mean, band_std=donor.band_std)
        tuned = finetune(
            given.after(network, **entry),
            data,
            settings=settings,
            folder=folder / name if folder is not None else None,
        )
        _take_(tuned.network, donor.network, layers)  # statistics without factors cannot be frozen
        tuned.network.requires_grad_(True)
        found[name] = tuned
    return found


def trunk_layers(members: Mapping[str, Classifier], *, until: str | None = None) -> tuple[str, ...]:
    """Return the first layers that hold weights, in the order in which they run, as far as all members have them alike.

    Parameters
    ----------
    members : mapping of name to Classifier
    until : str, optional
        See :func:`share_trunk`.

    Raises
    ------
    CoppiceError
        If there are none, or no such layer among them.

    Examples
    --------
    >>> from coppice.audio.front_end import front_end
    >>> from coppice.networks.surrey2022 import Surrey2022
    >>> ear, labels = front_end("surrey2022"), tuple("abcdefghij")
    >>> wide, narrow = (Classifier(Surrey2022(widths=(16, 12, w)), ear, labels, None, None) for w in (32, 22))
    >>> trunk_layers({"wide": wide, "narrow": narrow})
    ('conv1', 'bn1', 'conv2', 'bn2')
    """
    orders = [_layers_of(member) for member in members.values()]
    common: list[str] = []
    for layer, kind in orders[0].items():
        if not all(list(order.items())[len(common) : len(common) + 1] == [(layer, kind)] for order in orders):
            break
        common.append(layer)
    network = next(iter(members.values())).network
    weighted = [layer for layer in common if isinstance(network.get_submodule(layer), _WEIGHTED)]
    if not weighted:
        raise CoppiceError(
            f"{' and '.join(members)} have no first layer of the same shape, so that they cannot share a trunk; prune "
            "them from one parent in later layers only."
        )
    if until is None:
        if len(common) == len(orders[0]):
            raise CoppiceError(
                "all layers of the members have the same shapes; say until which one they are to share: until="
                f"{weighted[max(0, len(weighted) // 2 - 1)]!r}, for example."
            )
        until = weighted[-1]
    if until not in weighted:
        raise CoppiceError(f"the members cannot share the layers until {until!r}. {did_you_mean(until, weighted)}")
    last = common.index(until) + 1
    while last < len(common) and common[last] not in weighted:
        last += 1
    return tuple(common[:last])


def _take_(network: nn.Module, donor: nn.Module, layers: tuple[str, ...]) -> None:
    """Replace layers by frozen copies of the donor's."""
    for layer in layers:
        parent, _, leaf = layer.rpartition(".")
        setattr(network.get_submodule(parent), leaf, copy.deepcopy(donor.get_submodule(layer)).requires_grad_(False))


def _layers_of(member: Classifier) -> dict[str, Any]:
    """Return the layers with tensors of their own in the order in which they run, with what must be alike."""
    network, example = as_network(member)
    order: dict[str, Any] = {}
    handles = []

    def note(name: str, layer: nn.Module) -> Any:
        shapes = [(key, tuple(t.shape)) for key, t in (*layer.named_parameters(), *layer.named_buffers())]

        def hook(*_: Any) -> None:
            order.setdefault(name, (type(layer), layer.extra_repr(), shapes))

        return hook

    for name, layer in network.named_modules():
        if name and not any(layer.children()) and any(True for _ in (*layer.parameters(), *layer.buffers())):
            handles.append(layer.register_forward_hook(note(name, layer)))
    try:
        with eval_mode(network), torch.no_grad():
            network(example)
    finally:
        for handle in handles:
            handle.remove()
    return order


def _likeness(one: nn.Module, other: nn.Module) -> float:
    """Return the correlation of the weights of two layers of the same shape."""
    first, second = (_flat(layer) for layer in (one, other))
    if len(first) < 2 or float(first.std()) == 0 or float(second.std()) == 0:
        return 1.0 if torch.equal(first, second) else 0.0
    return round(float(torch.corrcoef(torch.stack([first, second]))[0, 1]), 4)


def _flat(layer: nn.Module) -> Tensor:
    return torch.cat([tensor.detach().double().flatten() for tensor in layer.parameters()] or [torch.zeros(1)])
