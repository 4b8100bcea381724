"""Label propagation: run a network once and follow with which filter each value vanishes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Int64
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from coppice.core.calls import ModuleCalls
from coppice.core.errors import CoppiceError
from coppice.pruning.coupling import Coupling

Labels = Int64[Tensor, "*shape"]
LAYERS = (nn.modules.conv._ConvNd, nn.Linear)


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


class Tracer(TorchDispatchMode):
    """Carries an int64 label for every element of every activation while a network runs.

    Parameters
    ----------
    network : nn.Module
        The network that runs inside the mode.
    calls : ModuleCalls
        Says which submodule is executing.

    Attributes
    ----------
    coupling : Coupling
        Which labels live and die together.
    layers : dict of str to Tensor
        Labels of the filters of every convolution and linear layer met, in the order of execution.
    columns : dict of (str, int) to Tensor
        Labels read along an axis of a weight: parameter name, axis.
    """

    def __init__(self, network: nn.Module, calls: ModuleCalls) -> None:
        super().__init__()
        self.coupling = Coupling()
        self.layers: dict[str, Labels] = {}
        self.columns: dict[tuple[str, int], Labels] = {}
        self._calls = calls
        self._modules = dict(network.named_modules())
        named = [*network.named_parameters(), *network.named_buffers()]
        self._names = {id(tensor): name for name, tensor in named}
        self._labels: dict[int, Labels] = {}
        self._weights: dict[int, tuple[Tensor, bool]] = {}
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

    def read(self, parameter: Tensor, axis: int, labels: Int64[Tensor, " columns"]) -> None:
        """Say that a weight reads channels of these labels along one of its axes."""
        key = (self._names[id(parameter)], axis)
        if key in self.columns:
            self.coupling.unite(self.columns[key], labels)
        else:
            self.columns[key] = labels

    def weight(self, tensor: Tensor) -> tuple[Tensor, bool] | None:
        """Return the parameter that a tensor is, or is the transpose of, and whether it is transposed."""
        return (tensor, False) if id(tensor) in self._names else self._weights.get(id(tensor))

    def follow_weight(self, view: Tensor, parameter: Tensor, *, transposed: bool) -> None:
        """Remember that ``view`` is a weight, transposed or not, perhaps repeated along a batch axis."""
        self._weights[id(view)] = (parameter, transposed)
        self._alive.append(view)

    def filters(self, parameter: Tensor, count: int) -> Int64[Tensor, " count"] | None:
        """Return the labels of the filters whose weight this is, new ones at the first call.

        None when the parameter is not the ``weight`` of a convolution or linear layer.
        """
        name, _, attribute = self._names[id(parameter)].rpartition(".")
        if attribute != "weight" or not isinstance(self._modules[name], LAYERS):
            return None
        if name not in self.layers:
            self.layers[name] = self.coupling.fresh(count)
        return self.layers[name]

    def named_labels(self) -> dict[str, Labels]:
        """Return the labels of every parameter and buffer that vanishes in parts."""
        return {name: self._labels[key] for key, name in self._names.items() if key in self._labels}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        found = RULES.get(func.overloadpacket)
        if not any(id(t) in known for t in tensors for known in (self._labels, self._names, self._weights)):
            return func(*args, **kwargs)
        if found is None:
            with self:  # an operator made of others, as inference mode leaves them
                out = func.decompose(*args, **kwargs)
            if out is NotImplemented:
                self.refuse_filters(func.overloadpacket, tensors)
                out = func(*args, **kwargs)
            return out
        out = func(*args, **kwargs)
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
                "output when a filter leaves; add one with coppice.pruning.tracer.rule."
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
