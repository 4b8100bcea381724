"""Counting conventions by name: the same network has other numbers in other papers and rules."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from coppice.complexity.convention import Convention
from coppice.complexity.layer_only import LAYER_ONLY
from coppice.complexity.macs import CONVENTION, count_macs
from coppice.complexity.nessi import count_nessi
from coppice.complexity.params import count_params
from coppice.complexity.torchinfo_count import count_torchinfo
from coppice.core.errors import CoppiceError, did_you_mean
from coppice.core.progress import say
from coppice.networks.classifier import Classifier, as_network

_Example = Float[Tensor, "1 *shape"]


@dataclass(frozen=True)
class Count:
    """The numbers of one network under one convention; None where the convention does not count such a thing.

    Attributes
    ----------
    convention : Convention
    params : int or None
    macs : int or None
        Multiply-accumulates for one clip.
    size_bytes : int or None
    macs_by_layer : dict
        Name of the module -> its MACs.
    """

    convention: Convention
    params: int | None = None
    macs: int | None = None
    size_bytes: int | None = None
    macs_by_layer: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-able data that names its convention."""
        return {
            "convention": self.convention.name,
            "counts": self.convention.counts,
            "source": self.convention.source,
            "params": self.params,
            "macs": self.macs,
            "size_bytes": self.size_bytes,
            "macs_by_layer": dict(self.macs_by_layer),
        }


def convention_names() -> list[str]:
    """Return the names of the conventions that :func:`count` knows.

    Examples
    --------
    >>> "torchinfo" in convention_names()
    True
    """
    return [convention.name for convention, _ in _TABLE]


def count(model: Classifier | nn.Module, convention: str, *, example: _Example | None = None) -> Count:
    """Count a network's parameters, MACs or bytes in a published convention.

    Parameters
    ----------
    model : Classifier or nn.Module
        Left as it is.
    convention : str
        One of :func:`convention_names`: ``keras_total``, ``keras_trainable``, ``bn_folded`` (parameters), ``macs``,
        ``macs_with_biases``, ``torchinfo`` (DCASE 2024 and 2025 rules), ``nessi_tflite`` and
        ``nessi_tflite_reshape`` (DCASE 2022 and 2023 rules). What ``layer_only`` says, how much
        pruning saves in the pruned layers alone, needs two networks:
        :func:`coppice.complexity.layer_only.mac_reduction`.
    example : Tensor, optional
        One input, batch of 1, needed for a bare module; a network and an input on the meta device cost no
        arithmetic.

    Returns
    -------
    Count
        With the convention in it.

    Raises
    ------
    CoppiceError
        If the convention is unknown or has no rule for the network, or a bare module comes without an example.

    Examples
    --------
    >>> import torch
    >>> from coppice.networks.dcase2021 import DCASE2021
    >>> net, example = DCASE2021(frames=51), torch.zeros(1, 1, 40, 51)
    >>> count(net, "torchinfo", example=example).macs, count(net, "nessi_tflite", example=example).macs
    (29271638, 29234920)
    >>> count(net, "nessi_tflite", example=example).size_bytes
    46512
    """
    if convention == LAYER_ONLY.name:
        raise CoppiceError(
            f"{convention!r} compares a pruned network with the unpruned one; use "
            "coppice.mac_reduction(before, after), or --before on the command line."
        )
    known = {entry.name: (entry, counter) for entry, counter in _TABLE}
    if convention not in known:
        raise CoppiceError(f"there is no counting convention {convention!r}. {did_you_mean(convention, known)}")
    entry, counter = known[convention]
    network, example = as_network(model, example)
    return Count(convention=entry, **counter(network, example))


def count_all(model: Classifier | nn.Module, *, example: _Example | None = None) -> list[Count]:
    """Count in every convention that has a rule for the network; what has none is said on standard error.

    Parameters
    ----------
    model : Classifier or nn.Module
        Left as it is.
    example : Tensor, optional
        One input, needed for a bare module.

    Returns
    -------
    list of Count
        In the order of :func:`convention_names`.

    Examples
    --------
    >>> import torch
    >>> [found.macs for found in count_all(nn.Linear(4, 2), example=torch.zeros(1, 4)) if found.macs]
    [8, 10, 10, 8, 8]
    """
    network, example = as_network(model, example)
    found = []
    for name in convention_names():
        try:
            found.append(count(network, name, example=example))
        except CoppiceError as error:
            say(str(error))
    return found


def _keras_total(network: nn.Module, example: _Example) -> dict[str, Any]:
    return {"params": count_params(network, example).total}


def _keras_trainable(network: nn.Module, example: _Example) -> dict[str, Any]:
    return {"params": count_params(network, example).trainable}


def _bn_folded(network: nn.Module, example: _Example) -> dict[str, Any]:
    return {"params": count_params(network, example).bn_folded}


def _plain_macs(network: nn.Module, example: _Example) -> dict[str, Any]:
    macs = count_macs(network, example)
    return {"macs": macs.total, "macs_by_layer": macs.by_layer}


def _macs_with_biases(network: nn.Module, example: _Example) -> dict[str, Any]:
    macs = count_macs(network, example)
    by_layer = {name: number + macs.biases_by_layer.get(name, 0) for name, number in macs.by_layer.items()}
    return {"macs": macs.total_with_biases, "macs_by_layer": by_layer}


def _torchinfo(network: nn.Module, example: _Example) -> dict[str, Any]:
    found = count_torchinfo(network, example)
    return {"params": found.params, "macs": found.mult_adds, "macs_by_layer": found.by_layer}


def _nessi_folded(network: nn.Module, example: _Example) -> dict[str, Any]:
    found = count_nessi(network, example, flatten="folded")
    return {"size_bytes": found.size_bytes, "macs": found.macs, "macs_by_layer": found.by_layer}


def _nessi_reshape(network: nn.Module, example: _Example) -> dict[str, Any]:
    found = count_nessi(network, example, flatten="reshape")
    return {"size_bytes": found.size_bytes, "macs": found.macs, "macs_by_layer": found.by_layer}


_NESSI = "NeSsi on TFLite, DCASE 2022 and 2023 Task 1"
_NESSI_COUNTS = (
    "bytes: int8 weights and int32 biases, batch normalisation folded; MACs: convolutions, pools, means, sums, without "
    "biases; a dense layer on a flattened map counts "
)
_TABLE: tuple[tuple[Convention, Callable[[nn.Module, _Example], dict[str, Any]]], ...] = (
    (
        Convention(
            "keras_total",
            "parameters with the running statistics of batch normalisation",
            "Keras' model.summary(), total",
        ),
        _keras_total,
    ),
    (
        Convention(
            "keras_trainable",
            "parameters without running statistics; frozen ones count",
            "Keras' model.summary(), trainable",
        ),
        _keras_trainable,
    ),
    (
        Convention(
            "bn_folded",
            "parameters with batch normalisation folded into the convolutions",
            "Singh et al., DCASE 2021 Task 1A report",
        ),
        _bn_folded,
    ),
    (Convention("macs", CONVENTION, "kernel × channels × output elements"), _plain_macs),
    (
        Convention(
            "macs_with_biases",
            "convolutions and dense layers, and one for each output element of a layer with a bias",
            "kernel × channels × output elements + output elements",
        ),
        _macs_with_biases,
    ),
    (
        Convention(
            "torchinfo",
            "parameters without running statistics; mult-adds with biases and batch normalisation, batch of 1; "
            "products written as functions count 0",
            "torchinfo 1.8.0, DCASE 2024 and 2025 Task 1",
        ),
        _torchinfo,
    ),
    (Convention("nessi_tflite", _NESSI_COUNTS + "its channels only", _NESSI), _nessi_folded),
    (
        Convention("nessi_tflite_reshape", _NESSI_COUNTS + "all its inputs (the file has a RESHAPE there)", _NESSI),
        _nessi_reshape,
    ),
)
