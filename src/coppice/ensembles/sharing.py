"""What several networks have in common: found by the content of weights and the order of operators."""

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from coppice.core.modes import eval_mode
from coppice.networks.once import call_key, is_random, writes


def shared_layers(members: Sequence[nn.Module], example: Float[Tensor, "1 *shape"]) -> dict[str, str]:
    """Find the layers that compute the same in several networks: equal weights behind equal operators.

    Members that were pruned from one parent and not trained since are equal from the input on, up to the first layer
    that lost filters. A layer counts as shared when everything that it hears, on the way from the input, is computed by
    the same operators with bit for bit the same weights; an equal layer behind another trunk does not.

    Parameters
    ----------
    members : sequence of nn.Module
        Left as they are; each runs once in eval mode.
    example : Tensor
        One input that all of them take.

    Returns
    -------
    dict of str to str
        Layer of a member -> the same layer of an earlier one, such as ``{"1.conv1": "0.conv1"}``: what
        :class:`coppice.networks.ensemble.Ensemble` takes.

    Examples
    --------
    >>> trunk = nn.Linear(2, 2)
    >>> heads = [nn.Sequential(trunk, nn.ReLU(), nn.Linear(2, 3)) for _ in range(2)]
    >>> shared_layers(heads, torch.zeros(1, 2))
    {'1.0': '0.0'}
    """
    numbers = _Numbering()
    found: dict[str, str] = {}
    for index, member in enumerate(members):
        layers = {
            f"{index}.{name}": layer
            for name, layer in member.named_modules()
            if name and not any(layer.children()) and any(True for _ in _tensors(layer))
        }
        numbers.enter(layers, example)
        with eval_mode(member), torch.no_grad(), numbers:
            member(example)
        for name, layer in layers.items():
            owners = numbers.owners.get(name, {None})
            owner = next(iter(owners))
            if len(owners) == 1 and owner is not None and _alike(layer, numbers.layers[owner]):
                found[name] = owner
    return found


_INPUT = 0


class _Numbering(TorchFunctionMode):
    """Gives every value a number that depends on how it is computed: equal numbers, equal values."""

    def __init__(self) -> None:
        super().__init__()
        self.layers: dict[str, nn.Module] = {}
        self.owners: dict[str, set[str | None]] = {}
        self._calls: dict[Any, tuple[int, list[str]]] = {}
        self._content: dict[str, int] = {}
        self._next = 0

    def enter(self, layers: dict[str, nn.Module], example: Tensor) -> None:
        """Begin a member: its input is that of the others, its weights have the numbers of their content."""
        self.layers |= layers
        self._held: dict[int, tuple[Tensor, int]] = {}
        self._layer_of: dict[int, str] = {}
        for name, layer in layers.items():
            for tensor in _tensors(layer):
                self._layer_of[id(tensor)] = name
                self._give(tensor, self._number_of_content(tensor))
        self._give(example, _INPUT)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        read: list[Tensor] = []
        key = call_key((func, args, tuple(sorted(kwargs.items()))), read, self._number)
        result = func(*args, **kwargs)
        if writes(func, kwargs):
            for tensor in read:  # whatever was known of it holds no longer
                places = tensor.untyped_storage()._cdata
                for other, _ in list(self._held.values()):
                    if other.untyped_storage()._cdata == places:
                        self._give(other, self._fresh())
            return result
        if key is None or is_random(func, kwargs):
            key = ("alone", self._fresh())
        mine = [self._layer_of[id(tensor)] for tensor in read if id(tensor) in self._layer_of]
        known = key in self._calls
        if not known:
            self._calls[key] = (self._fresh(), mine)
        number, theirs = self._calls[key]
        for own, owner in zip(mine, theirs, strict=True):
            self.owners.setdefault(own, set()).add(owner if known and owner != own else None)
        for place, value in enumerate(result if isinstance(result, tuple | list) else (result,)):
            if isinstance(value, Tensor) and id(value) not in self._layer_of:
                self._give(value, self._part(number, place))
        return result

    def _number(self, tensor: Tensor) -> int:
        if id(tensor) not in self._held:
            self._give(tensor, self._fresh())
        return self._held[id(tensor)][1]

    def _give(self, tensor: Tensor, number: int) -> None:
        self._held[id(tensor)] = (tensor, number)  # held, so that its place in memory stays its own

    def _part(self, number: int, place: int) -> int:
        return self._calls.setdefault(("part", number, place), (self._fresh(), []))[0]

    def _number_of_content(self, tensor: Tensor) -> int:
        plain = tensor.detach().cpu().contiguous()
        digest = hashlib.sha256(plain.flatten().view(torch.uint8).numpy().tobytes()).hexdigest()
        return self._content.setdefault(f"{digest} {plain.dtype} {tuple(plain.shape)}", self._fresh())

    def _fresh(self) -> int:
        self._next += 1
        return self._next


def _tensors(layer: nn.Module) -> list[Tensor]:
    return [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]


def _alike(layer: nn.Module, other: nn.Module) -> bool:
    return type(layer) is type(other) and layer.extra_repr() == other.extra_repr()
