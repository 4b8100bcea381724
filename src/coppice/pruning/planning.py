"""The verb that decides which filters go; it never touches weights."""

import math
from collections.abc import Iterable, Mapping

from jaxtyping import Float
from torch import Tensor, nn

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.core.seeds import derive_seed
from coppice.criteria.ranking import Ranking
from coppice.criteria.registry import rank
from coppice.networks.classifier import Classifier, as_network
from coppice.pruning.channels import Channels, trace, traceable_layers
from coppice.pruning.doomed import doomed_units
from coppice.pruning.plan import LayerPlan, PruningPlan

DUST = 1e-9  # (1 - 0.9) · 64 is 6.3999999999999986


def rankings(
    model: Classifier | nn.Module, criterion: str, *, layers: Iterable[str] | None = None, seed: int = 0
) -> dict[str, Ranking]:
    """Rank the filters of layers, each on its own; nothing is run or cut.

    Parameters
    ----------
    model : Classifier or nn.Module
    criterion : str
        Name of a criterion.
    layers : iterable of str, optional
        Convolution or linear layers by name; all convolutions by default.
    seed : int >= 0
        For criteria that draw random numbers; every layer has its own stream.

    Returns
    -------
    dict of str to Ranking
        In the order of the network's definition, or of ``layers``.

    Raises
    ------
    CoppiceError
        If a layer or the criterion does not exist, or a weight cannot be ranked.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv1d(1, 2, 1), nn.Conv1d(2, 3, 1), nn.Linear(4, 5))
    >>> {name: len(ranking.order) for name, ranking in rankings(net, "l1").items()}
    {'0': 2, '1': 3}
    """
    network = model if isinstance(model, nn.Module) else as_network(model)[0]
    names = list(layers) if layers is not None else _convolutions(network)
    known = traceable_layers(network)
    found = {}
    for name in names:
        if name not in known:
            raise CoppiceError(f"there is no convolution or linear layer {name!r}. {did_you_mean(name, known)}")
        layer = network.get_submodule(name)
        try:
            found[name] = rank(filters_first(layer), criterion, seed=derive_seed(seed, "rank", name))
        except CoppiceError as error:
            raise CoppiceError(f"layer {name!r}: {error}") from error
    return found


def filters_first(layer: nn.Module) -> Float[Tensor, "filters channels *kernel"]:
    """Return the weight of a layer with its filters along the first axis, also of a transposed convolution.

    Examples
    --------
    >>> filters_first(nn.ConvTranspose1d(2, 6, 3)).shape
    torch.Size([6, 2, 3])
    """
    weight = layer.weight
    assert isinstance(weight, Tensor)
    if not isinstance(layer, nn.modules.conv._ConvTransposeNd):
        return weight
    split = weight.reshape(layer.groups, -1, *weight.shape[1:])  # (groups, inputs, filters, *kernel)
    return split.transpose(1, 2).reshape(-1, split.shape[1], *weight.shape[2:])


def plan(
    model: Classifier | nn.Module,
    criterion: str,
    *,
    example: Float[Tensor, "1 *shape"] | None = None,
    keep: Mapping[str, int] | None = None,
    ratios: Mapping[str, float] | float | None = None,
    layers: Iterable[str] | None = None,
    seed: int = 0,
) -> PruningPlan:
    """Decide which filters go.

    With ``keep`` or ``ratios`` the layers they name lose their lowest-ranked filters; without, the method's
    own set decides for ``layers``. Of layers that are coupled (their outputs are added, say) the one that
    runs first among those asked for decides, ranked on its own weights. Filters of one layer that are coupled
    among themselves leave together, those with the lowest summed rank first, and never so many that fewer
    stay than asked for.

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
        Layer name → fraction *removed*, between 0 and 1; ceil((1 − ratio) · filters) stay. One number is for
        every layer of ``layers``.
    layers : iterable of str, optional
        Which layers, when ``keep`` and ``ratios`` do not name them; by default all convolutions that can be
        cut.
    seed : int >= 0
        For criteria that draw random numbers.

    Returns
    -------
    PruningPlan

    Raises
    ------
    CoppiceError
        If a layer or the criterion does not exist, a number is out of range, a layer cannot be cut (such as
        the output), requests for coupled layers disagree, or the criterion has no set of its own.

    Examples
    --------
    >>> import torch
    >>> net = nn.Sequential(nn.Conv1d(1, 8, 3), nn.ReLU(), nn.Conv1d(8, 2, 3))
    >>> decided = plan(net, "l1", ratios=0.25, example=torch.zeros(1, 1, 16))
    >>> [(layer.name, layer.filters, len(layer.keep)) for layer in decided.layers]
    [('0', 8, 6)]
    """
    if isinstance(layers, str):
        raise CoppiceError(f"layers is {layers!r}; give a list of names, such as [{layers!r}].")
    network, example = as_network(model, example)
    channels = trace(network, example)
    wanted = _wanted(network, channels, keep, ratios, None if layers is None else list(layers))
    explicit = layers is not None or keep is not None or isinstance(ratios, Mapping)
    decided: list[LayerPlan] = []
    doomed: set[int] = set()
    seen: set[int] = set()
    for name in (name for name in channels.layers if name in wanted):
        units = channels.units(name)
        if seen & set(units) - {0}:
            count = wanted[name]
            left = sum(unit not in doomed for unit in units)
            if explicit and count is not None and left != _reachable(units, count):
                decider = next(entry.name for entry in decided if name in channels.coupled_layers(entry.name))
                raise CoppiceError(
                    f"{name!r} is to keep {count} filters but {decider!r}, to which it is coupled, leaves it "
                    f"{left}; ask for the same in both, or name only one."
                )
            continue
        ranking = rankings(network, criterion, layers=[name], seed=seed)[name]
        kept = _kept(ranking, units, wanted[name])
        decided.append(LayerPlan(name, len(units), kept, channels.coupled_layers(name)))
        doomed |= channels.doomed(name, kept)
        seen |= set(units) - {0}
    made = PruningPlan(criterion, tuple(decided))
    doomed_units(channels, made)
    return made


def _convolutions(network: nn.Module) -> list[str]:
    return [
        name for name in traceable_layers(network) if isinstance(network.get_submodule(name), nn.modules.conv._ConvNd)
    ]


def _wanted(
    network: nn.Module,
    channels: Channels,
    keep: Mapping[str, int] | None,
    ratios: Mapping[str, float] | float | None,
    layers: list[str] | None,
) -> dict[str, int | None]:
    """Return layer name → number of filters to keep, None where the method's own set decides."""
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
        convolutions = set(_convolutions(network))
        layers = [name for name in channels.layers if name in convolutions and channels.can_be_cut(name)]
    wanted: dict[str, int | None] = {}
    for name in named or layers or []:
        filters = len(channels.units(name))
        if keep is not None and name in keep:
            wanted[name] = _checked_count(name, keep[name], filters)
        elif ratios is None:
            wanted[name] = None
        else:
            wanted[name] = kept_count(filters, ratios[name] if isinstance(ratios, Mapping) else ratios, name=name)
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


def kept_count(filters: int, ratio: float, *, name: str = "a layer") -> int:
    """Return how many filters stay when a fraction is removed: ceil((1 − ratio) · filters).

    The rounding of the DCASE 2021 systems (Singh et al., technical report); guarded against the dust of
    binary fractions.

    Parameters
    ----------
    filters : int >= 1
        How many there are.
    ratio : float in (0, 1)
        Fraction removed.
    name : str
        Layer, for messages.

    Raises
    ------
    CoppiceError
        If the ratio is not a number between 0 and 1.

    Examples
    --------
    >>> kept_count(16, 0.25), kept_count(10, 0.9), kept_count(32, 0.3)
    (12, 1, 23)
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
    return max(1, math.ceil((1 - ratio) * filters - DUST))


def _kept(ranking: Ranking, units: tuple[int, ...], count: int | None) -> tuple[int, ...]:
    """Return the filters to keep, so that coupled ones stay together and pinned ones stay."""
    filters = len(units)
    if count is None:
        if ranking.keep is None:
            raise CoppiceError(
                f"{ranking.criterion!r} orders filters but has no set of its own; give ratios, such as "
                'ratios=0.25, or keep, such as keep={"conv2": 11}.'
            )
        alive = {units[index] for index in ranking.keep} | {0}
        return tuple(index for index in range(filters) if units[index] in alive)
    place = {filter_: position for position, filter_ in enumerate(ranking.order)}
    members: dict[int, list[int]] = {}
    for index, unit in enumerate(units):
        if unit:
            members.setdefault(unit, []).append(index)
    gone: set[int] = set()
    for unit in sorted(members, key=lambda unit: sum(place[index] for index in members[unit])):
        if filters - len(gone) - len(members[unit]) >= max(1, count):
            gone |= set(members[unit])
    return tuple(index for index in range(filters) if index not in gone)


def _reachable(units: tuple[int, ...], count: int) -> int:
    """Return the smallest number of filters from ``count`` that can stay when coupled ones go together."""
    identity = Ranking("index", tuple(range(len(units))), tuple(map(float, range(len(units)))))
    return len(_kept(identity, units, count))
