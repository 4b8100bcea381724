"""What subsets of members cost, with what they share counted once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from coppice.complexity.latency import measure_latency
from coppice.complexity.macs import count_macs
from coppice.complexity.stored import stored_bytes
from coppice.core.errors import CoppiceError
from coppice.ensembles.build import ensemble
from coppice.networks.classifier import Classifier, as_network
from coppice.networks.ensemble import Ensemble
from coppice.networks.number_formats import packed
from coppice.pruning.planning.budget import Budget

KINDS = ("params", "macs", "bytes", "latency_ms")


@dataclass(frozen=True)
class Piece:
    """A part of the cost that is paid once if any of its owners is in the ensemble.

    Attributes
    ----------
    owners : int
        Mask of members: bit i is member i.
    costs : mapping
        ``params``, ``macs``, ``bytes``, ``latency_ms``, as far as known.
    """

    owners: int
    costs: Mapping[str, float]


@dataclass(frozen=True)
class Costs:
    """What members cost.

    Attributes
    ----------
    members : int
        How many there are.
    pieces : tuple of Piece
    """

    members: int
    pieces: tuple[Piece, ...]

    @classmethod
    def plain(cls, given: Sequence[Mapping[str, float]]) -> "Costs":
        """Return the costs of members that share nothing.

        Examples
        --------
        >>> float(Costs.plain([{"macs": 3}, {"macs": 4}]).of(0b11, "macs"))
        7.0
        """
        return cls(len(given), tuple(Piece(1 << index, costs) for index, costs in enumerate(given)))

    def kinds(self) -> tuple[str, ...]:
        """Return which costs are known of every member.

        Examples
        --------
        >>> Costs.plain([{"macs": 3, "params": 1}, {"macs": 4}]).kinds()
        ('macs',)
        """
        return tuple(
            kind
            for kind in KINDS
            if all(any(p.owners >> i & 1 and kind in p.costs for p in self.pieces) for i in range(self.members))
        )

    def table(self, kind: str) -> Float64[np.ndarray, " subsets"]:
        """Return one kind of cost of every subset, by mask."""
        masks = np.arange(2**self.members)
        total = np.zeros(2**self.members)
        for piece in self.pieces:
            total += ((masks & piece.owners) != 0) * float(piece.costs.get(kind, 0))
        return total

    def of(self, mask: int, kind: str) -> float:
        """Return one kind of cost of one subset."""
        return float(sum(piece.costs.get(kind, 0) for piece in self.pieces if piece.owners & mask))

    def within(self, budget: Budget) -> Bool[np.ndarray, " subsets"]:
        """Say which subsets keep a budget; a bound in per cent is of all members together.

        Raises
        ------
        CoppiceError
            If a bounded cost is not known of a member, or no subset keeps the budget.
        """
        allowed = np.ones(2**self.members, dtype=bool)
        allowed[0] = False
        for kind in budget.bounds:
            limit = self.limit(budget, kind)
            table = self.table(kind)
            if not (allowed & (table <= limit)).any():
                cheapest = table[1:].min()
                raise CoppiceError(
                    f"no member keeps the budget of {kind} ({budget.bounds[kind]}): the cheapest has {cheapest:,.6g}."
                )
            allowed &= table <= limit
        if not allowed.any():
            raise CoppiceError("no subset of the members keeps all bounds of the budget together; loosen one of them.")
        return allowed

    def limit(self, budget: Budget, kind: str) -> float:
        """Return a bound as a number.

        Raises
        ------
        CoppiceError
            If that cost is not known of every member, or the budget asks for what an ensemble does not measure.
        """
        if budget.stored_as != "float32" or budget.runtime is not None:
            raise CoppiceError(
                "bytes of an ensemble are those of its members as they are stored, and latency is that of torch; leave "
                "stored_as and runtime out of the budget."
            )
        if kind not in self.kinds():
            raise CoppiceError(f"the budget bounds {kind}, which is not known of every member; give their costs.")
        return float(budget.limit(kind, self.of(2**self.members - 1, kind)))


def costs_of(members: Mapping[str, Classifier], *, latency: bool = False) -> Costs:
    """Count what classifiers cost, alone and together.

    Parameters: with running statistics, as ``params_total`` of :func:`coppice.profile`; MACs as there; bytes of the
    tensors as they are stored in each member's file. Of layers that are shared
    (:func:`coppice.ensembles.sharing.shared_layers`), parameters, MACs and bytes count once. Latencies are measured one
    by one, in torch, and added up: an upper bound where layers are shared.

    Parameters
    ----------
    members : mapping of name to Classifier
        Two or more that make an ensemble.
    latency : bool
        Whether to measure it.

    Raises
    ------
    CoppiceError
        If they do not make an ensemble.

    Examples
    --------
    >>> from coppice.audio.front_end import front_end
    >>> from coppice.networks.surrey2022 import Surrey2022
    >>> one = Classifier(Surrey2022(), front_end("surrey2022"), tuple("abcdefghij"), None, None)
    >>> costs = costs_of({"one": one, "twin": one})
    >>> costs.of(0b01, "macs"), costs.of(0b11, "macs")
    (5369960.0, 5369960.0)
    """
    together = ensemble(members).network
    assert isinstance(together, Ensemble)
    pieces = []
    networks = {name: as_network(member) for name, member in members.items()}
    times = {}
    if latency:
        example = next(iter(networks.values()))[1]
        times = measure_latency({name: network for name, (network, _) in networks.items()}, example)
    owners = {owner: 1 << int(owner.partition(".")[0]) for owner in together.shared.values()}
    for layer, owner in together.shared.items():
        owners[owner] |= 1 << int(layer.partition(".")[0])
    for index, (name, member) in enumerate(members.items()):
        network, example = networks[name]
        macs = count_macs(network, example).by_layer
        sizes = _sizes(member)
        for layer in {**dict.fromkeys(macs), **dict.fromkeys(sizes)}:
            if f"{index}.{layer}" in together.shared:
                continue  # its owner has paid
            params, size = sizes.get(layer, (0, 0))
            costs = {"params": params, "macs": macs.get(layer, 0), "bytes": size}
            pieces.append(Piece(owners.get(f"{index}.{layer}", 1 << index), costs))
        if times:
            pieces.append(Piece(1 << index, {"latency_ms": times[name].latency_ms_p50}))
    return Costs(len(members), tuple(pieces))


def _sizes(member: Classifier) -> dict[str, tuple[int, float]]:
    """Return parameters (with running statistics) and bytes of each layer, as the member is stored."""
    stored: dict[str, int] = {}
    for name, tensor in packed(member.network, member.stored_as).items():
        layer = name.removesuffix(".scale").rpartition(".")[0]
        if tensor.is_floating_point() or tensor.dtype.itemsize == 1:
            stored[layer] = stored.get(layer, 0) + tensor.numel() * tensor.element_size()
    params: dict[str, int] = {}
    for name, tensor in member.network.state_dict().items():
        if tensor.is_floating_point():
            layer = name.rpartition(".")[0]
            params[layer] = params.get(layer, 0) + tensor.numel()
    imported = stored_bytes(member)
    # An imported file mixes formats and says only how many bytes there are of each.
    factor = sum(imported.values()) / sum(stored.values()) if imported and sum(stored.values()) else 1.0
    return {layer: (params.get(layer, 0), size * factor) for layer, size in stored.items()}
