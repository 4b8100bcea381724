"""Several networks as one: the mean of their posteriors, with what they have in common computed once."""

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coppice.core.errors import CoppiceError
from coppice.networks.once import Once
from coppice.networks.registry import build_network, network, network_identity

MOST_MEMBERS = 256


@network("ensemble")
class Ensemble(nn.Module):
    """The weighted mean of the members' posteriors; its logits are the logarithm of that mean.

    The softmax of these logits is the mean itself, so that an ensemble is a network like any other. Layers that are
    shared are the same objects in all members that have them: they are stored and counted once, and computed once as
    long as the members hear the same.

    Parameters
    ----------
    members : sequence of mapping
        ``network``: a network, or what :func:`coppice.networks.registry.network_identity` says of one. ``weight``:
        its share of the mean; shares sum to 1. ``order``, optional: which of its classes is each class of the
        ensemble. ``bands``, optional: number of mel bands, for a member that was trained on log-mel of another
        normalisation than the ensemble gets.
    how : {"arithmetic", "geometric"}
        Mean of the posteriors, or of their logarithms.
    temperature : float > 0
        What the logits are divided by.
    shared : mapping, optional
        Layer of a member -> the same layer of an earlier one, such as ``{"1.conv1": "0.conv1"}``.

    Raises
    ------
    CoppiceError
        If there is no member, a value is impossible, or a shared layer does not exist.

    Examples
    --------
    >>> tiny = {"name": "dcase2021", "config": {"widths": [2, 2, 2], "frames": 50}}
    >>> members = [{"network": tiny, "weight": 0.5}, {"network": tiny, "weight": 0.5}]
    >>> net = Ensemble(members=members, shared={"1.conv1": "0.conv1"}).eval()
    >>> net(torch.zeros(2, 1, 40, 50)).shape
    torch.Size([2, 10])
    >>> net.members[1].network.conv1 is net.members[0].network.conv1
    True
    """

    def __init__(
        self,
        *,
        members: Sequence[Mapping[str, Any]],
        how: str = "arithmetic",
        temperature: float = 1.0,
        shared: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(members, Sequence) or not 1 <= len(members) <= MOST_MEMBERS:
            raise CoppiceError(f"an ensemble takes a list of 1 to {MOST_MEMBERS} members.")
        if how not in ("arithmetic", "geometric"):
            raise CoppiceError(f"an ensemble cannot combine by {how!r}; give arithmetic or geometric.")
        if not (isinstance(temperature, int | float) and 0 < temperature < math.inf):
            raise CoppiceError(f"an ensemble cannot have the temperature {temperature!r}; give a number above 0.")
        self.how, self.temperature = how, float(temperature)
        self.members = nn.ModuleList(
            Member(**{name: value for name, value in member.items() if name != "weight"}) for member in members
        )
        self._check_kin()
        self.weights = tuple(_weight(member) for member in members)
        if abs(sum(self.weights) - 1) > 1e-6:
            raise CoppiceError(f"the members' weights sum to {sum(self.weights):.6g}, not to 1.")
        self.shared = dict(shared or {})
        for layer, owner in self.shared.items():
            self._share(layer, owner)
        self.register_state_dict_post_hook(_leave_out_shared)
        self.register_load_state_dict_pre_hook(_fill_in_shared)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """What an imported member takes, where that says so."""
        shape: tuple[int, ...] = self.parts[0].network.input_shape  # type: ignore[assignment]
        return shape

    @property
    def parts(self) -> list["Member"]:
        """The members, each with its own normalisation and order of classes."""
        return [member for member in self.members if isinstance(member, Member)]

    def config(self) -> dict[str, Any]:
        """Return the arguments that build an ensemble of these shapes.

        Raises
        ------
        CoppiceError
            If a member is of a class that Coppice does not know, so that no file can say how to build it.
        """
        members: list[dict[str, Any]] = []
        for weight, member in zip(self.weights, self.parts, strict=True):
            identity = dict(network_identity(member.network))
            if "name" not in identity:
                raise CoppiceError(
                    f"the ensemble has a member of the class {identity['class']!r}, which Coppice does not know, so "
                    "that it cannot be stored; save the members one by one."
                )
            members.append({"network": identity, "weight": weight, **member.options()})
        return {"members": members, "how": self.how, "temperature": self.temperature, "shared": dict(self.shared)}

    def forward(self, features: Float[Tensor, "clips channels *axes"]) -> Float[Tensor, "clips classes"]:
        """Return the logarithm of the mean of the members' posteriors, over the temperature."""
        with Once() if self.shared else nullcontext():
            logits = [member(features) for member in self.members]
        logs = [torch.log_softmax(one, dim=1) for one in logits]
        if self.how == "geometric":
            shares = [weight * log for weight, log in zip(self.weights, logs, strict=True)]
            return torch.stack(shares).sum(dim=0) / self.temperature
        shares = [log + math.log(weight) for weight, log in zip(self.weights, logs, strict=True)]
        return torch.logsumexp(torch.stack(shares), dim=0) / self.temperature

    def _check_kin(self) -> None:
        """Refuse members that are built for other sizes than one another."""
        configs = [network_identity(part.network).get("config", {}) for part in self.parts]
        for size in ("classes", "bands", "frames"):
            found = {config[size] for config in configs if size in config}
            if size == "classes":
                found |= {len(part.order) for part in self.parts if part.order is not None}
            if size == "bands":
                found |= {part.bands for part in self.parts if part.bands is not None}
            if len(found) > 1:
                raise CoppiceError(f"the members of an ensemble are built for {' and '.join(map(str, found))} {size}.")

    def _share(self, layer: str, owner: str) -> None:
        (to, name), (source, theirs) = _place(layer), _place(owner)
        if not 0 <= source < to < len(self.members):
            raise CoppiceError(f"an ensemble cannot share {layer!r} with {owner!r}: there is no such earlier member.")
        networks = [member.network for member in self.parts]
        try:
            found = networks[source].get_submodule(theirs)
            parent = networks[to].get_submodule(name.rpartition(".")[0])
            parent.get_submodule(name.rpartition(".")[2])
        except AttributeError as error:
            raise CoppiceError(f"an ensemble cannot share {layer!r} with {owner!r}: there is no such layer.") from error
        setattr(parent, name.rpartition(".")[2], found)


class Member(nn.Module):
    """A network that hears in its own normalisation and says the classes in the ensemble's order.

    Parameters
    ----------
    network, order, bands
        See :class:`Ensemble`.
    """

    def __init__(
        self,
        *,
        network: nn.Module | Mapping[str, Any],
        order: Sequence[int] | None = None,
        bands: int | None = None,
    ) -> None:
        super().__init__()
        if isinstance(network, nn.Module):
            self.network = network
        else:
            self.network = build_network(network["name"], **network["config"])
        self.order = list(order) if order is not None else None
        if self.order is not None and sorted(self.order) != list(range(len(self.order))):
            raise CoppiceError(f"the order of a member's classes is {self.order}; each class has to come once.")
        self.bands = bands
        self.scale: Tensor
        self.shift: Tensor
        if bands is not None:
            self.register_buffer("scale", torch.ones(bands))
            self.register_buffer("shift", torch.zeros(bands))

    def options(self) -> dict[str, Any]:
        """Return the arguments that are not the defaults."""
        given = {"order": self.order, "bands": self.bands}
        return {name: value for name, value in given.items() if value is not None}

    def forward(self, features: Float[Tensor, "clips channels *axes"]) -> Float[Tensor, "clips classes"]:
        """Return the network's logits."""
        if self.bands is not None:
            features = features * self.scale[:, None] + self.shift[:, None]
        logits: Tensor = self.network(features)
        return logits if self.order is None else logits.index_select(1, torch.tensor(self.order, device=logits.device))


def _weight(member: Mapping[str, Any]) -> float:
    weight = member["weight"]
    if not (isinstance(weight, int | float) and 0 < weight <= 1 + 1e-9):
        raise CoppiceError(f"a member of an ensemble has the weight {weight!r}; give a number above 0, up to 1.")
    return float(weight)


def _place(layer: str) -> tuple[int, str]:
    """Take the name of a member's layer apart: number of the member, and the layer in its network."""
    index, dot, name = layer.partition(".")
    if not (index.isdecimal() and dot and name):
        raise CoppiceError(f"{layer!r} is not the layer of a member, such as '1.conv1'.")
    return int(index), name


def _names(layer: str, prefix: str) -> str:
    index, name = _place(layer)
    return f"{prefix}members.{index}.network.{name}."


def _leave_out_shared(ensemble: Ensemble, state: dict[str, Tensor], prefix: str, _metadata: Any) -> None:
    for layer in ensemble.shared:
        for name in [name for name in state if name.startswith(_names(layer, prefix))]:
            del state[name]


def _fill_in_shared(ensemble: Ensemble, state: dict[str, Tensor], prefix: str, *_others: Any) -> None:
    for layer, owner in ensemble.shared.items():
        here, there = _names(layer, prefix), _names(owner, prefix)
        state |= {here + name.removeprefix(there): t for name, t in state.items() if name.startswith(there)}
