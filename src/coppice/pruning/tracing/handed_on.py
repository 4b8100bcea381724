"""What a layer hands on: its output after the normalisation and activation behind it, caught while a network runs."""

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from coppice.core.dispatch import DispatchMode
from coppice.pruning.tracing import layer_rules, rules
from coppice.pruning.tracing.tracer import RULES, Call

# Operators that work on each channel by itself: the same that keep labels in place.
_SHAPING = {rules.reshaped}
_FOLLOWED = {
    *_SHAPING,
    rules.same,
    rules.together,
    layer_rules.batch_normalised,
    rules.layer_normalised,
    rules.group_normalised,
}


@dataclass(eq=False)
class HandedOn:
    """One run of one layer.

    Attributes
    ----------
    layer : str
        Its name.
    shape : tuple of int
        Of the layer's own output, and so of what it hands on.
    value : Tensor
        What is handed on, perhaps in another shape; the network may change it in place when the receiver has returned.
    scale : Tensor or None
        Weight (γ) of a batch normalisation on the way.
    """

    layer: str
    shape: tuple[int, ...]
    value: Tensor
    scale: Float[Tensor, " filters"] | None = None


@dataclass(frozen=True, eq=False)
class _Link:
    """A tensor made from one layer's output and parameters alone, and what is handed on where it is read."""

    tensor: Tensor  # so that its id stays its own
    run: HandedOn
    value: Tensor


@contextmanager
def handed_on(
    network: nn.Module, layers: Collection[str], receive: Callable[[HandedOn], None]
) -> Iterator[Callable[[], None]]:
    """Catch what layers hand on while the block runs the network.

    From a layer's output the values are followed through normalisation, activation and whatever else works on it
    element by element, alone or with parameters, until something else reads them: pooling, another layer, an
    addition to another layer's values, a reduction, a permutation. What that something reads is handed on.

    Parameters
    ----------
    network : nn.Module
        Run in the block, in eval mode; with gradients or without, but not in inference mode.
    layers : collection of str
        Convolution and linear layers by name.
    receive : callable
        Called with a :class:`HandedOn` each time, before its value can be changed in place.

    Yields
    ------
    callable
        To be called after each run of the network: hands on what nothing has read, such as the output.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2), nn.ReLU(), nn.MaxPool1d(2)).eval()
    >>> found = []
    >>> with torch.no_grad(), handed_on(net, ["0"], found.append) as end:
    ...     _ = net(torch.ones(1, 1, 10))
    ...     end()
    >>> found[0].shape, bool((found[0].value >= 0).all())
    ((1, 2, 8), True)
    """
    follower = _Follower(network, receive)
    with ExitStack() as stack:
        for name in layers:
            layer = network.get_submodule(name)
            handle = layer.register_forward_hook(lambda _layer, _given, out, name=name: follower.start(name, out))
            stack.callback(handle.remove)
        stack.enter_context(follower)
        yield follower.end


class _Follower(DispatchMode):
    """Follows tensors that are made from one layer's output and parameters alone."""

    def __init__(self, network: nn.Module, receive: Callable[[HandedOn], None]) -> None:
        super().__init__()
        self._receive = receive
        self._links: dict[int, _Link] = {}
        self._stored = [*network.parameters(), *network.buffers()]
        self._fixed = {id(tensor): tensor for tensor in self._stored}

    def start(self, layer: str, out: Tensor) -> None:
        """Begin to follow the output of a layer."""
        run = HandedOn(layer, tuple(out.shape), out)
        self._links[id(out)] = _Link(out, run, out)

    def end(self) -> None:
        """Hand on what nothing has read, and forget everything but what is stored in the network."""
        runs = dict.fromkeys(link.run for link in self._links.values())
        self._links.clear()  # before the receiver works with them
        for run in runs:
            self._receive(run)
        self._fixed = {id(tensor): tensor for tensor in self._stored}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func.overloadpacket is torch.ops.aten.detach:  # autograd's own: the network itself reads nothing
            return func(*args, **kwargs)
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        links = [self._links[id(tensor)] for tensor in tensors if id(tensor) in self._links]
        alone = all(id(tensor) in self._links or id(tensor) in self._fixed for tensor in tensors)
        rule = RULES.get(func.overloadpacket)
        goes_on = rule in _FOLLOWED and alone and len({id(link.run) for link in links}) == 1
        if not goes_on:
            for link in links:
                self._read(link)
        out = func(*args, **kwargs)
        made = out[0] if isinstance(out, tuple | list) and out else out
        if not isinstance(made, Tensor):
            return out
        if goes_on:
            self._follow(made, links[0], rule, Call(func, args, kwargs, out))
        elif not links and alone and (tensors or made.numel() == 1):
            self._fixed[id(made)] = made
        return out

    def _follow(self, made: Tensor, link: _Link, rule: Any, call: Call) -> None:
        run, value = link.run, link.value
        if rule not in _SHAPING and made.numel() == run.value.numel() and made.is_floating_point():
            run.value = value = made
        if rule is layer_rules.batch_normalised:
            run.scale = call["weight"]
        self._links[id(made)] = _Link(made, run, value)

    def _read(self, link: _Link) -> None:
        if link.run in (other.run for other in self._links.values()):  # not handed on for another argument
            link.run.value = link.value
            self._links = {key: other for key, other in self._links.items() if other.run is not link.run}
            self._receive(link.run)
