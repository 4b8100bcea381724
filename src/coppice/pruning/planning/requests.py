"""What someone asks of a plan, held against a network: which layers, and how many filters of each stay."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from torch import nn

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.pruning.evidence.rankings import convolutions
from coppice.pruning.tracing.channels import Channels, traceable_layers

DUST = 1e-9  # (1 - 0.9) · 64 is 6.3999999999999986
_ROUNDINGS = {"ceil": (math.ceil, -DUST), "floor": (math.floor, DUST)}


def wanted_counts(
    network: nn.Module,
    channels: Channels,
    *,
    keep: Mapping[str, int] | None,
    ratios: Mapping[str, float] | float | None,
    layers: list[str] | None,
    rounding: str = "ceil",
) -> dict[str, int | None]:
    """Return layer name → number of filters to keep, None where the method's own set decides.

    Parameters
    ----------
    network : nn.Module
    channels : Channels
        Of that network.
    keep, ratios, layers, rounding
        As :func:`coppice.pruning.planning.decide.plan` takes them.

    Raises
    ------
    CoppiceError
        If they contradict each other, name what cannot be cut, or hold an impossible number.
    """
    named = [*(keep or {}), *(ratios if isinstance(ratios, Mapping) else {})]
    if named and layers is not None:
        raise CoppiceError("keep and ratios name their layers themselves; leave out layers, or give one ratio for all.")
    if keep is not None and ratios is not None and not isinstance(ratios, Mapping):
        raise CoppiceError("give keep, or one ratio for all layers, not both.")
    for name in named:
        if named.count(name) > 1:
            raise CoppiceError(f"{name!r} stands in keep and in ratios; give it in one of them.")
    if (keep is not None or isinstance(ratios, Mapping)) and not named:
        raise CoppiceError('keep and ratios name no layer; give for example ratios={"conv2": 0.5}.')
    for name in [*named, *(layers or [])]:
        _check_cuttable(network, channels, name)
    if not named and layers is None:
        known = set(convolutions(network))
        layers = [name for name in channels.layers if name in known and channels.can_be_cut(name)]
    wanted: dict[str, int | None] = {}
    for name in named or layers or []:
        filters = len(channels.units(name))
        if keep is not None and name in keep:
            wanted[name] = _checked_count(name, keep[name], filters)
        elif ratios is None:
            wanted[name] = None
        else:
            ratio = ratios[name] if isinstance(ratios, Mapping) else ratios
            wanted[name] = kept_count(filters, ratio, name=name, rounding=rounding)
    if not wanted:
        raise CoppiceError("no layer of this network can be cut; all filters reach its output or are mixed.")
    return wanted


def _check_cuttable(network: nn.Module, channels: Channels, name: str) -> None:
    known = traceable_layers(network)
    if name not in known:
        raise CoppiceError(f"there is no convolution or linear layer {name!r}. {did_you_mean(name, known)}")
    if name not in channels.layers:
        raise CoppiceError(
            f"{name!r} cannot be cut: the example does not run it, or its weights are computed, not stored."
        )
    if not channels.can_be_cut(name):
        raise CoppiceError(f"{name!r} cannot be cut: its filters {channels.reasons[name]}.")


def _checked_count(name: str, count: object, filters: int) -> int:
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= filters:
        raise CoppiceError(f"cannot keep {count!r} filters of {name!r}; give a whole number from 1 to {filters}.")
    return count


def kept_count(filters: int, ratio: float, *, name: str = "a layer", rounding: str = "ceil") -> int:
    """Return how many filters stay when a fraction is removed: (1 − ratio) · filters, rounded, at least one.

    ``ceil`` is the rounding of the DCASE 2021 systems (Singh et al., technical report); ``floor`` that of the code
    for VGGish, CNN14 and other networks (Singh and Plumbley, TASLP 2025). Guarded against the dust of binary fractions.

    Parameters
    ----------
    filters : int >= 1
        How many there are.
    ratio : float in (0, 1)
        Fraction removed.
    name : str
        Layer, for messages.
    rounding : {"ceil", "floor"}

    Raises
    ------
    CoppiceError
        If the ratio is not a number between 0 and 1, or there is no such rounding.

    Examples
    --------
    >>> kept_count(16, 0.25), kept_count(10, 0.9), kept_count(32, 0.3)
    (12, 1, 23)
    >>> kept_count(10, 0.25, rounding="floor")
    7
    """
    where = f"ratio for {name!r}"
    if isinstance(ratio, bool) or not isinstance(ratio, int | float):
        raise CoppiceError(f"{where} is {ratio!r}; give a number between 0 and 1, such as 0.25.")
    if math.isnan(ratio):
        raise CoppiceError(f"{where} is not a number (NaN); give a number between 0 and 1, such as 0.25.")
    if ratio == 0:
        raise CoppiceError(f"{where} is 0, which removes nothing; leave the layer out, or give a number above 0.")
    if ratio == 1:
        raise CoppiceError(f"{where} is 1, which leaves no filter; give a number below 1, such as 0.75.")
    if ratio < 0:
        raise CoppiceError(f"{where} is {ratio}; a fraction cannot be negative, give one between 0 and 1.")
    if ratio > 1:
        raise CoppiceError(f"{where} is {ratio}; give a number between 0 and 1, such as 0.25 for 25 %.")
    check_rounding(rounding)
    round_, dust = _ROUNDINGS[rounding]
    return max(1, round_((1 - ratio) * filters + dust))


def check_rounding(name: str) -> None:
    """Raise if numbers cannot be rounded in this way.

    Raises
    ------
    CoppiceError
        If there is no such rounding.
    """
    if name not in _ROUNDINGS:
        raise CoppiceError(f"there is no rounding {name!r}. {did_you_mean(str(name), _ROUNDINGS)}")


def protected(network: nn.Module, channels: Channels, names: Iterable[str]) -> Channels:
    """Return the channels with all filters of some layers, and those coupled to them, kept for ever.

    Parameters
    ----------
    network : nn.Module
    channels : Channels
        Of that network.
    names : iterable of str
        Layers to protect. They still lose the input channels that other layers no longer make.

    Raises
    ------
    CoppiceError
        If there is no such layer.

    Examples
    --------
    >>> import torch
    >>> from coppice.pruning.tracing.channels import trace
    >>> net = nn.Sequential(nn.Conv1d(1, 2, 3), nn.Conv1d(2, 3, 3), nn.Conv1d(3, 1, 1))
    >>> protected(net, trace(net, torch.zeros(1, 1, 8)), ["0"]).filters
    {'0': (0, 0), '1': (3, 4, 5), '2': (0,)}
    """
    names = [names] if isinstance(names, str) else list(names)
    known = traceable_layers(network)
    for name in names:
        if name not in known:
            raise CoppiceError(f"cannot protect {name!r}: there is no such layer. {did_you_mean(name, known)}")
    held = {unit for name in names for unit in channels.filters.get(name, ())} - {0}
    if not held:
        return channels
    filters, reasons = {}, dict(channels.reasons)
    for layer, units in channels.filters.items():
        filters[layer] = tuple(0 if unit in held else unit for unit in units)
        if filters[layer] != units:
            reasons[layer] = "are protected" if layer in names else "leave only with filters that are protected"
    return replace(channels, filters=filters, reasons=reasons)


def checked_whole(value: object, what: str, example: int) -> int:
    """Return a whole number from 1.

    Raises
    ------
    CoppiceError
        If it is none.

    Examples
    --------
    >>> checked_whole(8, "round_to", 8)
    8
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CoppiceError(f"{what} is {value!r}; give a whole number from 1, such as {example}.")
    return value
