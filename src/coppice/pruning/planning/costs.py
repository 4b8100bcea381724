"""What a network costs as a closed form of the units that are left: exactly what profiling the pruned one counts."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from coppice.complexity.macs import operator_macs
from coppice.complexity.product import Product
from coppice.core.calls import ModuleCalls
from coppice.pruning.tracing.channels import Channels, trace
from coppice.pruning.tracing.labels import narrowed, varying_axes, vector_along
from coppice.pruning.tracing.tracer import Tracer

Units = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Term:
    """A number that shrinks in proportion to what is left along each of some axes.

    Attributes
    ----------
    name : str
        Of the tensor or module.
    amount : int
        While nothing is gone.
    axes : tuple of int
        Indices into :attr:`Costs.axes`.
    """

    name: str
    amount: int
    axes: tuple[int, ...]


@dataclass(frozen=True)
class TimedProduct:
    """A convolution or matrix product, and the axes along which its shapes shrink; None for those that stay."""

    name: str
    product: Product
    inputs: int | None
    outputs: int | None
    rows: int | None

    def narrowed(self, left: Sequence[int]) -> Product:
        """Return its shapes when so much is left along each axis of :attr:`Costs.axes`."""
        matrix = self.product.kind == "matrix"
        weight, groups = self.product.weight, self.product.groups
        inputs, outputs = self.product.input[1], weight[1] if matrix else weight[0]
        if self.product.transposed:
            outputs = weight[1] * groups
        return self.product.narrowed(
            inputs=inputs if self.inputs is None else left[self.inputs],
            outputs=outputs if self.outputs is None else left[self.outputs],
            rows=None if self.rows is None else left[self.rows],
        )


@dataclass(frozen=True)
class Counts:
    """What a network has: the same numbers as in :class:`coppice.complexity.profile.Profile`.

    Attributes
    ----------
    params : int
        ``params_total``.
    macs : int
    numbers : int
        In the state dict; two bytes each in ``size_bytes_float16``, four in ``size_bytes_float32``.
    """

    params: int
    macs: int
    numbers: int


@dataclass(frozen=True, eq=False)
class Costs:
    """The cost of a network for any set of units that leaves.

    Attributes
    ----------
    channels : Channels
    axes : tuple of arrays of int
        Unit of every index along an axis of a tensor; 0 stays for ever.
    params, numbers, macs, values : tuple of Term
        Parameters with running statistics, tensors of the state dict, products, and what other operators write.
    products : tuple of TimedProduct
    """

    channels: Channels
    axes: tuple[Units, ...]
    params: tuple[Term, ...]
    numbers: tuple[Term, ...]
    macs: tuple[Term, ...]
    values: tuple[Term, ...]
    products: tuple[TimedProduct, ...]

    def left(self, doomed: Collection[int]) -> list[int]:
        """Return how many indices are left along each axis when units leave."""
        gone = np.zeros(1 + max((int(axis.max()) for axis in self.axes), default=0), dtype=bool)
        gone[[unit for unit in doomed if unit < len(gone)]] = True
        return [len(axis) - int(gone[axis].sum()) for axis in self.axes]

    def total(self, terms: Iterable[Term], left: Sequence[int]) -> int:
        """Return the sum of terms when so much is left along each axis."""
        whole = 0
        for term in terms:
            amount, size = term.amount, 1
            for axis in term.axes:
                amount, size = amount * left[axis], size * len(self.axes[axis])
            whole += amount // size
        return whole

    def counts(self, doomed: Collection[int] = ()) -> Counts:
        """Return what is left of parameters, MACs and numbers when units leave."""
        left = self.left(doomed)
        return Counts(*(self.total(terms, left) for terms in (self.params, self.macs, self.numbers)))


def trace_costs(network: nn.Module, example: Float[Tensor, "1 *shape"]) -> Costs:
    """Trace a network once and find how its cost depends on every unit.

    Parameters
    ----------
    network : nn.Module
        Not touched.
    example : Tensor [shape=(1, ...)]

    Returns
    -------
    Costs

    Raises
    ------
    CoppiceError
        If the network cannot be traced.

    Examples
    --------
    >>> import torch
    >>> net = nn.Sequential(nn.Conv1d(1, 8, 3), nn.ReLU(), nn.Conv1d(8, 2, 3))
    >>> costs = trace_costs(net, torch.zeros(1, 1, 16))
    >>> costs.counts(), costs.counts(doomed={1, 2, 3, 4})
    (Counts(params=82, macs=912, numbers=82), Counts(params=42, macs=456, numbers=42))
    """
    made: list[_CostTracer] = []

    def make(network: nn.Module, calls: ModuleCalls, *, values: bool) -> Tracer:
        made.append(_CostTracer(network, calls, values=values))
        return made[-1]

    channels = trace(network, example, tracer=make)
    return _costs(network, channels, made[-1])


@dataclass(frozen=True)
class _Seen:
    """An executed operator: its module, MACs (0 for no product), values written, and labels that scale these."""

    name: str
    macs: int
    values: int
    vectors: dict[str, Int64[Tensor, " size"]]
    product: Product | None = None


class _CostTracer(Tracer):
    """A tracer that also notes every product and how many values the other operators write."""

    def __init__(self, network: nn.Module, calls: ModuleCalls, *, values: bool) -> None:
        super().__init__(network, calls, values=values)
        self.seen: list[_Seen] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = super().__torch_dispatch__(func, types, args, kwargs)
        operator, name = func.overloadpacket, self._calls.current
        macs = operator_macs(operator, args, out)
        if not macs:
            if not func.is_view:
                self.seen += [
                    _Seen(name, 0, leaf.numel(), {"values": narrowed(self._known(leaf)).reshape(-1)})
                    for leaf in tree_leaves(out)
                    if isinstance(leaf, Tensor)
                ]
        elif str(operator) == "aten.mkldnn_rnn_layer":
            read, own = args[1].numel(), args[2].numel()
            vectors = self._vectors(inputs=(args[0], 2))
            self.seen.append(_Seen(name, macs * read // (read + own), 0, vectors))
            self.seen.append(_Seen(name, macs * own // (read + own), 0, {}))
        else:
            product = Product.of_call(operator, args)
            vectors = {}  # attention works on filters that never leave
            if product is not None and product.kind == "convolution":
                vectors = self._vectors(inputs=(args[0], 1), outputs=(out, 1))
            elif isinstance(out, Tensor):
                source = args[1] if operator.__name__ in ("addmm", "baddbmm", "addmv") else args[0]
                rows = {f"rows{axis}": (source, axis) for axis in range(source.ndim - 1)}
                vectors = self._vectors(inputs=(source, source.ndim - 1), outputs=(out, out.ndim - 1), **rows)
            self.seen.append(_Seen(name, macs, 0, vectors, product))
        return out

    def _known(self, tensor: Tensor) -> Int64[Tensor, "*shape"]:
        labels = self._labels.get(id(tensor))
        if labels is None:  # asked of a parameter, the tracer would make some
            return torch.zeros((), dtype=torch.int64).expand(tensor.shape)
        return self.coupling.resolve(labels)

    def _vectors(self, **axes: tuple[Tensor, int]) -> dict[str, Int64[Tensor, " size"]]:
        found = {}
        for name, (tensor, axis) in axes.items():
            labels = self._known(tensor)
            vector = vector_along(labels, axis) if axis in varying_axes(labels) else None
            if vector is not None:
                found[name] = vector
        return found


def _costs(network: nn.Module, channels: Channels, tracer: _CostTracer) -> Costs:
    axes: list[Units] = []
    known: dict[bytes, int] = {}

    def axis(units: Units) -> int:
        key = units.tobytes()
        if key not in known:
            known[key] = len(axes)
            axes.append(units)
        return known[key]

    of_label = _units_of_labels(channels, tracer)

    def scaled(vectors: Iterable[Tensor]) -> tuple[int, ...]:
        return tuple(axis(units) for units in map(of_label, vectors) if units.any())

    shrinking: dict[str, list[int]] = {}
    for cut in channels.cuts:
        shrinking.setdefault(cut.tensor, []).append(axis(np.asarray(cut.units, dtype=np.int64)))
    named = dict([*network.named_parameters(), *network.named_buffers()])
    first_name = {id(tensor): name for name, tensor in named.items()}

    def stored(name: str, tensor: Tensor) -> Term:
        return Term(name, tensor.numel(), tuple(shrinking.get(first_name.get(id(tensor), name), ())))

    parameters = {name for name, _ in network.named_parameters()}
    macs: list[Term] = []
    values: list[Term] = []
    products: list[TimedProduct] = []
    for seen in tracer.seen:
        vectors = dict(seen.vectors)
        if seen.product is not None and _is_depthwise(seen.product):
            vectors.pop("inputs", None)  # goes with the outputs
        terms = macs if seen.macs else values
        terms.append(Term(seen.name, seen.macs or seen.values, scaled(vectors.values())))
        if seen.product is not None:
            lookup: Callable[[str], int | None] = partial(_only, seen.vectors, scaled)
            products.append(TimedProduct(seen.name, seen.product, lookup("inputs"), lookup("outputs"), lookup("rows0")))
    return Costs(
        channels,
        params=tuple(stored(name, t) for name, t in named.items() if name in parameters or t.is_floating_point()),
        numbers=tuple(
            stored(name, t) for name, t in network.state_dict(keep_vars=True).items() if t.is_floating_point()
        ),
        macs=tuple(macs),
        values=tuple(values),
        products=tuple(products),
        axes=tuple(axes),
    )


def _only(vectors: dict[str, Tensor], scaled: Callable[[Iterable[Tensor]], tuple[int, ...]], name: str) -> int | None:
    return next(iter(scaled([vectors[name]])), None) if name in vectors else None


def _is_depthwise(product: Product) -> bool:
    return product.kind == "convolution" and product.groups == product.input[1] and product.groups > 1


def _units_of_labels(channels: Channels, tracer: _CostTracer) -> Callable[[Tensor], Units]:
    """Return a function from labels to units as :func:`~coppice.pruning.tracing.channels.trace` numbered them."""
    resolve = tracer.coupling.resolve
    numbers = {0: 0}
    for layer, units in channels.filters.items():
        numbers.update(zip(resolve(tracer.layers[layer]).tolist(), units, strict=True))

    def units_of(labels: Tensor) -> Units:
        return np.asarray([numbers.get(label, 0) for label in resolve(labels).tolist()], dtype=np.int64)

    return units_of
