"""Merging: the weights that read a filter that goes are added to those of the filter that is most like it."""

from collections.abc import Collection
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from coppice.pruning.surgery.prune import sliced
from coppice.pruning.tracing.channels import Channels
from coppice.pruning.tracing.filters import filters_first
from coppice.pruning.tracing.norms_behind import norms_behind
from coppice.pruning.tracing.stored import Stored


def nearest_survivors(
    vectors: dict[int, Float64[Tensor, " weights"]], kinds: dict[int, tuple[str, ...]], doomed: Collection[int]
) -> dict[int, tuple[int, float]]:
    """Find for each unit that goes the one that stays and points most nearly the same way, and how much of it to take.

    Parameters
    ----------
    vectors : dict of int to Tensor
        What each unit makes of the same input: weights and bias.
    kinds : dict of int to tuple of str
        Only units of one kind, made by the same layers, are compared.
    doomed : collection of int
        The units that go.

    Returns
    -------
    dict of int to (int, float)
        Unit → its nearest survivor and the factor ⟨u, v⟩ / ⟨v, v⟩, never negative, with which that stands in for it.

    Examples
    --------
    >>> vectors = {1: torch.tensor([2.0, 0.0]), 2: torch.tensor([1.0, 0.1]), 3: torch.tensor([0.0, 9.0])}
    >>> found = nearest_survivors(vectors, {1: ("a",), 2: ("a",), 3: ("a",)}, [1])
    >>> [(unit, near, round(share, 2)) for unit, (near, share) in found.items()]
    [(1, 2, 1.98)]
    """
    alike: dict[tuple[str, ...], list[int]] = {}
    for unit in vectors:
        alike.setdefault(kinds[unit], []).append(unit)
    found: dict[int, tuple[int, float]] = {}
    for units in alike.values():
        goes = [unit for unit in units if unit in doomed]
        stays = [unit for unit in units if unit not in doomed]
        if not goes or not stays:
            continue
        there = torch.stack([vectors[unit] for unit in stays])
        products, lengths = (
            torch.stack([vectors[unit] for unit in goes]) @ there.T,
            torch.linalg.vector_norm(there, dim=1),
        )
        best = (products / lengths.clamp(min=torch.finfo(lengths.dtype).tiny)).argmax(dim=1)
        squares = lengths[best].square()
        shares = products.gather(1, best[:, None])[:, 0].clamp(min=0) / squares.where(squares > 0, 1.0)
        found |= {
            unit: (stays[place], share) for unit, place, share in zip(goes, best.tolist(), shares.tolist(), strict=True)
        }
    return found


@torch.no_grad()
def merge_(
    pruned: nn.Module,
    original: nn.Module,
    channels: Channels,
    doomed: Collection[int],
    example: Float[Tensor, "1 *shape"],
) -> None:
    """Add, in place, what read each cut unit to what reads its nearest survivor.

    Parameters
    ----------
    pruned : nn.Module
        ``original`` without the doomed units; changed.
    original : nn.Module
        Not touched; run once on the example, to find the batch normalisations behind layers.
    channels : Channels
        Of ``original``.
    doomed : collection of int
        The units that were cut.
    example : Tensor [shape=(1, ...)]
    """
    vectors, kinds = _unit_vectors(original, channels, example)
    near = nearest_survivors(vectors, kinds, doomed)
    whole, small = Stored(original, channels.norms), Stored(pruned, channels.norms)
    magnitudes = {norm.magnitude for norm in channels.norms}  # go with their directions
    for cut in channels.cuts:
        if not cut.reads or cut.tensor in magnitudes or not set(cut.units) & near.keys():
            continue
        places: dict[int, list[int]] = {}
        for index, unit in enumerate(cut.units):
            places.setdefault(unit, []).append(index)
        weight = whole.read(cut.tensor).double().movedim(cut.axis, 0)
        gained = torch.zeros_like(weight)
        for unit, (other, share) in near.items():
            if len(places.get(unit, [])) == len(places.get(other, [])):
                gained[places.get(other, [])] += share * weight[places.get(unit, [])]
        axes = {
            known.axis: [index for index, unit in enumerate(known.units) if unit not in doomed]
            for known in channels.cuts
            if known.tensor == cut.tensor
        }
        now = small.read(cut.tensor)
        small.write_(cut.tensor, (now.double() + sliced(gained.movedim(0, cut.axis), axes)).to(now.dtype))


def _unit_vectors(
    network: nn.Module, channels: Channels, example: Float[Tensor, "1 *shape"]
) -> tuple[dict[int, Float64[Tensor, " weights"]], dict[int, tuple[str, ...]]]:
    """Return weights and bias of every unit, in all layers that make it, and the names of these layers."""
    behind = norms_behind(network, channels.layers, example)
    parts: dict[int, list[Tensor]] = {}
    kinds: dict[int, tuple[str, ...]] = {}
    for name, units in channels.filters.items():
        layer: Any = network.get_submodule(name)
        filters = filters_first(layer).detach().double().flatten(1)
        bias = filters.new_zeros(len(filters)) if layer.bias is None else layer.bias.detach().double()
        norm: Any = network.get_submodule(behind[name]) if name in behind else None
        if norm is not None and len(norm.running_mean) == len(filters):
            scale = torch.rsqrt(norm.running_var.double() + norm.eps)
            scale = scale if norm.weight is None else scale * norm.weight.double()
            bias = (bias - norm.running_mean.double()) * scale
            bias = bias if norm.bias is None else bias + norm.bias.double()
            filters = filters * scale[:, None]
        whole = torch.cat([filters, bias[:, None]], dim=1)
        for index, unit in enumerate(units):
            if unit:
                parts.setdefault(unit, []).append(whole[index])
                kinds[unit] = (*kinds.get(unit, ()), name)
    return {unit: torch.cat(rows) for unit, rows in parts.items()}, kinds
