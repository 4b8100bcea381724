"""Compute once what several networks compute alike: the same operator on the very same tensors."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, resolve_name

_AT_RANDOM = ("dropout", "rand", "bernoulli", "multinomial", "rrelu", "gumbel")
_PLAIN = (bool, int, float, str, torch.dtype, torch.device, torch.memory_format, torch.layout, type(None), type(...))


class Once(TorchFunctionMode):
    """Inside the block, an operator that is called again with the very same tensors returns what it returned before.

    Networks that hold the same layers (the same objects, not equal ones) and hear the same input then share what they
    have in common, whatever their code looks like, and go apart where they differ. Operators that draw random numbers
    run each time, and one that writes into a tensor makes everything forgotten that was computed from it.

    Examples
    --------
    >>> layer, x = torch.nn.Linear(2, 2), torch.ones(1, 2)
    >>> with Once():
    ...     torch.relu(layer(x)) is torch.relu(layer(x))
    True
    """

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[Any, tuple[tuple[Tensor, ...], Any]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator, or look its result up."""
        kwargs = kwargs or {}
        read: list[Tensor] = []
        key = call_key((func, args, tuple(sorted(kwargs.items()))), read, id)
        if writes(func, kwargs):
            result = func(*args, **kwargs)
            self._forget(read[:1] if "out" not in kwargs else read)
            return result
        if key is None or not read or is_random(func, kwargs):
            return func(*args, **kwargs)
        if key not in self._known:
            # The tensors are held, so that no other one takes their place in memory and is mistaken for them.
            self._known[key] = (tuple(read), func(*args, **kwargs))
        return self._known[key][1]

    def _forget(self, written: list[Tensor]) -> None:
        places = {_place(tensor) for tensor in written}
        for key, (read, result) in list(self._known.items()):
            results = result if isinstance(result, tuple | list) else (result,)
            touched = [*read, *(one for one in results if isinstance(one, Tensor))]
            if places & {_place(tensor) for tensor in touched}:
                del self._known[key]


def call_key(value: Any, read: list[Tensor], number: Callable[[Tensor], int]) -> Any:
    """Return what tells calls of operators apart, None where one cannot tell; collect the tensors that are read.

    Parameters
    ----------
    value : anything
        An operator and what it is called with.
    read : list
        Gets the tensors in it.
    number : callable
        What a tensor is known by.

    Examples
    --------
    >>> read = []
    >>> call_key((torch.relu, (torch.ones(2),)), read, lambda tensor: 7) is not None, len(read)
    (True, 1)
    """
    if isinstance(value, Tensor):
        read.append(value)
        return ("tensor", number(value))
    if isinstance(value, tuple | list):
        parts = [call_key(part, read, number) for part in value]
        return None if any(part is None for part in parts) else (type(value).__name__, *parts)
    if isinstance(value, slice):
        return call_key((value.start, value.stop, value.step), read, number)
    if isinstance(value, torch.SymInt):  # a size that is free in an export
        return ("size", str(value))
    if isinstance(value, _PLAIN):
        return (type(value).__name__, value)
    return ("function", value) if callable(value) else None


def is_random(func: Any, kwargs: Mapping[str, Any]) -> bool:
    """Say whether an operator draws random numbers.

    Examples
    --------
    >>> is_random(torch.nn.functional.dropout, {"training": True}), is_random(torch.relu, {})
    (True, False)
    """
    return kwargs.get("training") is not False and any(word in _name(func) for word in _AT_RANDOM)


def writes(func: Any, kwargs: Mapping[str, Any]) -> bool:
    """Say whether an operator writes into a tensor that it gets.

    Examples
    --------
    >>> writes(torch.Tensor.relu_, {}), writes(torch.relu, {})
    (True, False)
    """
    name = _name(func)
    in_place = name.endswith("_") and not name.endswith("__")
    augmented = name.startswith("__i") and name not in ("__index__", "__int__", "__invert__")
    return in_place or augmented or name in ("__setitem__", "__set__") or "out" in kwargs or bool(kwargs.get("inplace"))


def _name(func: Any) -> str:
    return str(getattr(func, "__name__", "") or resolve_name(func) or "")


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
