"""Bytes and MACs as NeSsi counts them on a TFLite file, which the DCASE 2022 and 2023 Task 1 rules use."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from coppice.complexity.folding import folding_pairs
from coppice.core.attention import products_of_attention
from coppice.core.calls import ModuleCalls, module_calls
from coppice.core.dispatch import DispatchMode
from coppice.core.errors import CoppiceError
from coppice.core.modes import eval_mode

_aten = torch.ops.aten
_POOLS = {_aten.max_pool2d_with_indices, _aten.avg_pool2d, _aten.max_pool3d_with_indices, _aten.avg_pool3d}
_WHOLE_INPUT = {_aten.mean, _aten._adaptive_avg_pool2d, _aten.adaptive_max_pool2d}
_FILLED = {_aten.new_ones, _aten.new_zeros, _aten.new_full, _aten.ones_like, _aten.zeros_like, _aten.full_like}
_RESHAPES = {_aten.view, _aten._unsafe_view, _aten._reshape_alias}

_BIAS_BYTES = 4  # int32; every other constant is int8, one byte


@dataclass(frozen=True)
class NessiCount:
    """What NeSsi prints of the network's full-integer TFLite file.

    Attributes
    ----------
    size_bytes : int
        Bytes of the constants that each operator reads: int8 weights, int32 biases. The DCASE 2022 task calls it
        "parameters".
    macs : int
        Multiply-accumulates, pooling counted and biases not.
    by_layer : dict
        Name of the module -> its MACs.
    bytes_by_layer : dict
        Name of the module -> its bytes.
    """

    size_bytes: int
    macs: int
    by_layer: dict[str, int]
    bytes_by_layer: dict[str, int]


def count_nessi(
    network: nn.Module,
    example: Float[Tensor, "1 *shape"],
    *,
    flatten: Literal["folded", "reshape"] = "folded",
) -> NessiCount:
    """Count what NeSsi would print if the network were converted to a full-integer TFLite file.

    Batch normalisation is folded into the convolution before it. A convolution counts kernel × in_channels / groups
    × output elements, a pool its window × output elements, a mean over time or frequency its input elements, a sum
    of two maps its elements, a dense layer its inputs × outputs; everything else, transposed convolutions and
    products of two activations included, counts 0. Convolutions always have a bias in TFLite.

    Where a dense layer reads a flattened map, the converter of Keras models leaves no operator for the flattening,
    and NeSsi takes the last dimension of the map, its channels, for the number of inputs: 3,200 MACs for the first
    dense layer of the DCASE 2022 baseline, which has 6,400. The published numbers have this fault, and so has this
    function, unless told that the file has a RESHAPE there. The shape that such a RESHAPE reads, 8 bytes, is not
    counted here. A batch normalisation that cannot be folded counts as the product and the sum that it becomes
    (derived from the converter's rules, not compared with a published number).

    Parameters
    ----------
    network : nn.Module
        Left as it is.
    example : Tensor
        One input, batch of 1; a tensor on the meta device costs no arithmetic.
    flatten : {"folded", "reshape"}
        Whether dense layers read flattened maps as they are or through a RESHAPE. The official baseline's file does
        the former, the files of Singh and Plumbley's 2022 submissions the latter.

    Raises
    ------
    CoppiceError
        If the network has a recurrent layer, for which NeSsi has no rule.

    References
    ----------
    A. Ancilotto, NeSsi, https://github.com/AlbertoAncilotto/NeSsi; the numbers of the DCASE 2022 Task 1 baseline,
    46,512 and 29,234,920, https://github.com/marmoi/dcase2022_task1_baseline.

    Examples
    --------
    >>> count = count_nessi(nn.Sequential(nn.MaxPool2d(5), nn.Flatten(), nn.Linear(40, 3)), torch.zeros(1, 4, 10, 25))
    >>> count.by_layer, count.size_bytes
    ({'0': 1000, '2': 12}, 132)
    """
    if flatten not in ("folded", "reshape"):
        raise CoppiceError(f"flatten is {flatten!r}; give 'folded' or 'reshape'.")
    for name, module in network.named_modules():
        if isinstance(module, nn.RNNBase | nn.RNNCellBase):
            raise CoppiceError(
                f"NeSsi has no rule for the recurrent layer {name!r} ({type(module).__name__}); count with the "
                "convention 'macs' or 'torchinfo'."
            )
    absorbed = set(folding_pairs(network, example).values())
    with module_calls(network) as calls, eval_mode(network), products_of_attention(), torch.no_grad():
        count = _Count(calls, dict(network.named_modules()), absorbed, folded=flatten == "folded")
        with count:
            network(example)
    return NessiCount(sum(count.bytes.values()), sum(count.macs.values()), count.macs, count.bytes)


class _Constants:
    """Tensors that do not depend on the input: a converter computes them once."""

    def __init__(self, weights: Iterable[Tensor]) -> None:
        # The tensor is kept, because an id is only unique while it lives; whether weights went into it.
        self._known = {id(tensor): (tensor, True) for tensor in weights}

    def __contains__(self, value: object) -> bool:
        return id(value) in self._known

    def are_weights(self, tensor: Tensor) -> bool:
        return tensor in self and self._known[id(tensor)][1]

    def add(self, tensors: Iterable[Tensor], *, given: Iterable[Tensor]) -> None:
        weights = any(self.are_weights(tensor) for tensor in given)
        self._known.update({id(tensor): (tensor, weights) for tensor in tensors})

    def discard(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            self._known.pop(id(tensor), None)


class _Count(DispatchMode):
    def __init__(self, calls: ModuleCalls, modules: dict[str, nn.Module], absorbed: set[str], *, folded: bool) -> None:
        super().__init__()
        self.calls, self.modules, self.absorbed, self.folded = calls, modules, absorbed, folded
        self.macs: dict[str, int] = {}
        self.bytes: dict[str, int] = {}
        self.constants = _Constants([*modules[""].parameters(), *modules[""].buffers()])
        self.flattened: dict[int, tuple[Tensor, int]] = {}  # id -> the tensor, which keeps the id its own; channels

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        operator = func.overloadpacket
        given, made = _tensors((args, kwargs)), _tensors(out)
        if operator in _FILLED or all(tensor in self.constants for tensor in given):
            self.constants.add(made, given=[] if operator in _FILLED else given)
        elif made and made[0].is_floating_point():
            self.constants.discard(made)  # an operator in place
            if operator in _RESHAPES and args[0].ndim > 2 and out.ndim == 2 and len(out) == len(args[0]):
                self.flattened[id(out)] = (out, args[0].shape[1])
            self._add(self.macs, self._macs_of(operator, args, made[0]))
            self._add(self.bytes, self._bytes_of(operator, args, given))
        return out

    def _add(self, totals: dict[str, int], amount: int) -> None:
        if amount:
            totals[self.calls.current] = totals.get(self.calls.current, 0) + amount

    def _macs_of(self, operator: Any, args: Any, out: Tensor) -> int:
        if operator is _aten.convolution:
            transposed = args[6]
            return 0 if transposed else out.numel() * args[1][0].numel()
        if operator in _POOLS:
            return out.numel() * prod(args[1])
        if operator in _WHOLE_INPUT:
            return int(args[0].numel())
        if operator in (_aten.mm, _aten.addmm):
            vectors, weight = args[-2:]
            return out.numel() * self._inputs(vectors) if weight in self.constants else 0
        if operator in (_aten.add, _aten.add_):
            bias = isinstance(self.modules[self.calls.current], nn.Linear)  # part of the dense operator
            return 0 if bias else out.numel()
        if "batch_norm" in operator.__name__:
            return 0 if self.calls.current in self.absorbed else out.numel()
        return 0

    def _inputs(self, vectors: Tensor) -> int:
        if self.folded and id(vectors) in self.flattened:
            return self.flattened[id(vectors)][1]
        return vectors.shape[-1]

    def _bytes_of(self, operator: Any, args: Any, given: list[Tensor]) -> int:
        weights = [tensor for tensor in given if self.constants.are_weights(tensor)]
        if operator is _aten.convolution:
            filters = args[1].shape[1] * args[8] if args[6] else args[1].shape[0]
            return (args[1].numel() if args[1] in self.constants else 0) + _BIAS_BYTES * filters
        if "batch_norm" in operator.__name__:
            return 0 if self.calls.current in self.absorbed else 2 * args[0].shape[1]  # a factor and a summand
        biases = []
        if operator is _aten.addmm:
            biases = [args[0]]
        elif operator in (_aten.add, _aten.add_) and isinstance(self.modules[self.calls.current], nn.Linear):
            biases = weights
        return sum(_BIAS_BYTES * t.numel() if any(t is b for b in biases) else t.numel() for t in weights)


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]
