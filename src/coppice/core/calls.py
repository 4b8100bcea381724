"""Which submodule is executing right now: so that an operator can be blamed on a layer by name."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import nn


@dataclass
class ModuleCalls:
    """The submodules whose ``forward`` has begun and not ended, outermost first.

    Attributes
    ----------
    names : list of str
        Dotted names; the root is ``""``.
    """

    names: list[str] = field(default_factory=list)

    @property
    def current(self) -> str:
        """Dotted name of the innermost executing submodule; ``""`` for the root or when nothing runs."""
        return self.names[-1] if self.names else ""


@contextmanager
def module_calls(model: nn.Module) -> Iterator[ModuleCalls]:
    """Follow which submodule of ``model`` is executing while the block runs.

    A submodule that hangs under several names is known by its first. Exceptions inside a ``forward``, also
    those the network itself catches, leave the record right; the hooks are removed however the block ends.

    Parameters
    ----------
    model : nn.Module
        The network; it is called inside the block.

    Yields
    ------
    ModuleCalls
        ``current`` is the innermost dotted name.

    Examples
    --------
    >>> import torch
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    >>> seen = []
    >>> with module_calls(net) as calls:
    ...     handle = net[1].register_forward_pre_hook(lambda *_: seen.append(calls.current))
    ...     _ = net(torch.zeros(1, 2))
    >>> seen
    ['1']
    """
    calls = ModuleCalls()
    handles = []

    def enter(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any) -> None:
            calls.names.append(name)

        return hook

    def leave(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, _output: Any) -> None:
            if name in calls.names:  # what an inner exception left behind goes with it
                del calls.names[len(calls.names) - 1 - calls.names[::-1].index(name) :]

        return hook

    try:
        for name, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(enter(name), prepend=True))
            handles.append(module.register_forward_hook(leave(name), always_call=True))
        yield calls
    finally:
        for handle in handles:
            handle.remove()
