"""Label propagation: run a network once and follow with which filter each value vanishes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Int64
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from coppice.core.calls import ModuleCalls
from coppice.core.dispatch import DispatchMode
from coppice.core.errors import CoppiceError
from coppice.pruning.tracing.coupling import Coupling

Labels = Int64[Tensor, "*shape"]
LAYERS = (nn.modules.conv._ConvNd, nn.Linear)
_STORED_AS = (".parametrizations.weight.original1", ".weight_v", ".weight")  # the first two under weight_norm
_VALUES_READ = [getattr(torch.ops.aten, name) for name in ("_local_scalar_dense", "equal", "nonzero", "masked_select")]


class ValuesRead(BaseException):
    """The network looks at values, such as ``if x.max() > 0``: it must be run with true ones. Never leaves trace."""


@dataclass(frozen=True, eq=False)
class Weight:
    """A stored weight as an operator sees it.

    Attributes
    ----------
    parameter : Tensor
        What is stored; under weight normalisation the direction.
    transposed : bool
        The operator sees the transpose.
    magnitude : Tensor or None
        Under weight normalisation, the norm of every slice along ``axis``.
    axis : int
        See ``magnitude``.
    """

    parameter: Tensor
    transposed: bool = False
    magnitude: Tensor | None = None
    axis: int = 0


@dataclass(frozen=True)
class Axis:
    """Labels along an axis of a stored tensor, and whether a weight reads channels there or makes them."""

    labels: Int64[Tensor, " size"]
    reads: bool


@dataclass(frozen=True)
class Call:
    """One executed operator: what it is, what went in, what came out."""

    operator: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Any

    def __getitem__(self, name: str) -> Any:
        """Return an argument by its name in the operator's schema; defaults filled in."""
        for position, argument in enumerate(self.operator._schema.arguments):
            if argument.name == name:
                if position < len(self.args):
                    return self.args[position]
                return self.kwargs.get(name, argument.default_value)
        raise KeyError(name)

    def has(self, name: str) -> bool:
        """Say whether the operator's schema has an argument of this name."""
        return any(argument.name == name for argument in self.operator._schema.arguments)


Rule = Callable[["Tracer", Call], Any]
RULES: dict[Any, Rule] = {}
AnyRule = TypeVar("AnyRule", bound=Rule)


def rule(*operators: str) -> Callable[[AnyRule], AnyRule]:
    """Register what happens to labels in operators of ``torch.ops.aten`` (all overloads of each name).

    A rule takes the tracer and the call; it returns the labels of the output: one tensor (for every output of
    its shape), a sequence (one per output), or None for an output that depends on no filter. Names that
    the installed torch does not have are skipped.
    """

    def register(function: AnyRule) -> AnyRule:
        for name in operators:
            packet = getattr(torch.ops.aten, name, None)
            if packet is not None:
                RULES[packet] = function
        return function

    return register


class Tracer(DispatchMode):
    """Carries an int64 label for every element of every activation while a network runs.

    Parameters
    ----------
    network : nn.Module
        The network that runs inside the mode.
    calls : ModuleCalls
        Says which submodule is executing.
    values : bool
        Compute convolutions. Labels do not depend on values, so zeros of the right shape do as well, unless the
        network's forward looks at values, which raises :class:`ValuesRead`.

    Attributes
    ----------
    coupling : Coupling
        Which labels live and die together.
    layers : dict of str to Tensor
        Labels of the filters of every convolution and linear layer met, in the order of execution.
    axes : dict of (str, int) to Axis
        What is known of the axes of weights: parameter name, axis.
    normalised : dict of str to Weight
        Weights under weight normalisation, by the name of their direction.
    widths : dict of str to Tensor
        Labels of the channels of normalisations that hold no tensors, by module.
    looked : bool
        The network asked for values while they were not computed.
    """

    def __init__(self, network: nn.Module, calls: ModuleCalls, *, values: bool = True) -> None:
        super().__init__()
        self.coupling = Coupling()
        self.layers: dict[str, Labels] = {}
        self.axes: dict[tuple[str, int], Axis] = {}
        self.normalised: dict[str, Weight] = {}
        self.widths: dict[str, Labels] = {}
        self.looked = False
        self._values = values
        self._calls = calls
        self._modules = dict(network.named_modules())
        named = [*network.named_parameters(), *network.named_buffers()]
        self._names = {id(tensor): name for name, tensor in named}
        self._labels: dict[int, Labels] = {}
        self._weights: dict[int, Weight] = {}
        self._alive: list[Any] = [tensor for _, tensor in named]  # ids stay valid while their tensors live

    @property
    def place(self) -> str:
        """The submodule that is executing, for messages."""
        return repr(self._calls.current) if self._calls.current else "the network's own forward"

    def labels(self, tensor: Tensor) -> Labels:
        """Return the labels of a tensor; those of a parameter are made when first asked for."""
        if id(tensor) not in self._labels:
            if id(tensor) not in self._names:
                return torch.zeros((), dtype=torch.int64).expand(tensor.shape)
            fresh = self.coupling.fresh(tensor.numel(), from_filters=False)
            self._labels[id(tensor)] = fresh.view(tensor.shape)
        return self.coupling.resolve(self._labels[id(tensor)])

    def bind(self, tensor: Tensor | None, labels: Labels) -> None:
        """Say that a parameter, buffer or activation vanishes element by element with ``labels``."""
        if tensor is None:
            return
        if id(tensor) in self._names and id(tensor) not in self._labels:
            self._labels[id(tensor)] = labels
        else:
            self.coupling.unite(self.labels(tensor), labels)

    def write(self, tensor: Tensor, labels: Labels) -> None:
        """Say that values with these labels were written into an activation, perhaps beside others."""
        known = self._labels.get(id(tensor))
        if known is not None:
            self.coupling.unite(known, labels)
        self._labels[id(tensor)] = labels
        self._alive.append(tensor)

    def name(self, tensor: Tensor) -> str:
        """Return the dotted name of a parameter or buffer."""
        return self._names[id(tensor)]

    def is_stored(self, tensor: Tensor) -> bool:
        """Say whether a tensor is a parameter or buffer of the network."""
        return id(tensor) in self._names

    def read(self, weight: Weight, axis: int, labels: Int64[Tensor, " channels"]) -> None:
        """Say that a weight reads channels of these labels along an axis of what is stored."""
        name, _, attribute = self.name(weight.parameter).rpartition(".")
        if isinstance(self._modules[name], nn.MultiheadAttention) and attribute in ("in_proj_weight", "q_proj_weight"):
            self.coupling.pin(labels, f"are read by the attention {name!r}, whose width is fixed")
        self._along(weight, axis, labels, reads=True)

    def make(self, weight: Weight, axis: int, labels: Int64[Tensor, " filters"]) -> None:
        """Say that filters of these labels lie along an axis of a stored weight."""
        self._along(weight, axis, labels, reads=False)

    def _along(self, weight: Weight, axis: int, labels: Int64[Tensor, " size"], *, reads: bool) -> None:
        keys = [(self.name(weight.parameter), axis)]
        if weight.magnitude is not None:
            self.normalised[keys[0][0]] = weight
            if axis == weight.axis:
                keys.append((self.name(weight.magnitude), axis))
        for key in keys:
            if (known := self.axes.get(key)) is not None:
                self.coupling.unite(known.labels, labels)
                self.axes[key] = Axis(known.labels, known.reads or reads)
            else:
                self.axes[key] = Axis(labels, reads)

    def pass_through(self, labels: Int64[Tensor, " channels"]) -> None:
        """Say that the executing module normalises channels of these labels and holds no tensor of their number."""
        if self._calls.current:
            self.widths[self._calls.current] = labels

    def weight(self, tensor: Tensor) -> Weight | None:
        """Return the stored weight that a tensor is, or is made from; None when it is computed in other ways."""
        return Weight(tensor) if self.is_stored(tensor) else self._weights.get(id(tensor))

    def follow_weight(self, tensor: Tensor, weight: Weight) -> None:
        """Remember that ``tensor`` is a stored weight: transposed, normalised or repeated along a batch axis."""
        self._weights[id(tensor)] = weight
        self._alive.append(tensor)

    def filters(self, weight: Weight, count: int) -> Int64[Tensor, " count"] | None:
        """Return the labels of the filters whose weight this is, new ones at the first call.

        None when it is not the ``weight`` of a convolution or linear layer.
        """
        stored = "." + self.name(weight.parameter)
        layer = next((stored.removesuffix(end)[1:] for end in _STORED_AS if stored.endswith(end)), None)
        if layer is None or not isinstance(self._modules[layer], LAYERS):
            return None
        if layer not in self.layers:
            self.layers[layer] = self.coupling.fresh(count)
        return self.layers[layer]

    def named_labels(self) -> dict[str, Labels]:
        """Return the labels of every parameter and buffer that vanishes in parts."""
        return {name: self._labels[key] for key, name in self._names.items() if key in self._labels}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        found = RULES.get(func.overloadpacket)
        if not self._values and func.overloadpacket in _VALUES_READ:
            self.looked = True
            raise ValuesRead
        if not any(id(t) in known for t in tensors for known in (self._labels, self._names, self._weights)):
            return func(*args, **kwargs)
        if found is None:
            with self:  # an operator made of others, as inference mode leaves them
                out = func.decompose(*args, **kwargs)
            if out is NotImplemented:
                self.refuse_filters(func.overloadpacket, tensors)
                out = func(*args, **kwargs)
            return out
        out = func(*args, **kwargs) if self._values else without_values(func, args, kwargs)
        self._remember(out, found(self, Call(func, args, kwargs, out)))
        return out

    def refuse_filters(self, operator: Any, tensors: list[Tensor]) -> None:
        """Raise, naming the operator and the module, if filters that could be cut go in.

        Raises
        ------
        CoppiceError
            If any of the tensors depends on a filter that is not pinned.
        """
        if any(self.coupling.holds_filters(self._labels[id(t)]) for t in tensors if id(t) in self._labels):
            name = str(operator).removeprefix("aten.")
            raise CoppiceError(
                f"the operator {name!r} in {self.place} cannot be followed: no rule says what becomes of its "
                "output when a filter leaves; add one with coppice.pruning.tracing.tracer.rule."
            )

    def _remember(self, out: Any, labels: Any) -> None:
        if labels is None:
            return
        outputs = [out] if isinstance(out, Tensor) else list(out)
        if isinstance(labels, Tensor):
            parts = [labels if isinstance(o, Tensor) and o.shape == labels.shape else None for o in outputs]
        else:
            parts = list(labels)
        for output, part in zip(outputs, parts, strict=True):
            if part is not None:
                self._labels[id(output)] = part
                self._alive.append(output)


def without_values(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operator; of a convolution only the shape, by one channel and one filter of it."""
    if func is not torch.ops.aten.convolution.default or kwargs:
        return func(*args, **kwargs)
    given, weight, _bias, *geometry, groups = args
    transposed = geometry[3]
    outside, inside = weight.shape[0], weight.shape[1] * groups
    filters, channels = (inside, outside) if transposed else (outside, inside)
    if given.shape[1] != channels or not (given.is_contiguous() and weight.is_contiguous()):
        return func(*args)  # it raises, or gives its output a layout on which the forward may rely
    one = func(given[:, :1], weight[:1, :1], None, *geometry, 1)
    return one.new_zeros((one.shape[0], filters, *one.shape[2:]))
