"""Ways in which a network runs for a while: in eval mode, without the compiler; afterwards as before."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn


@contextmanager
def eval_mode(network: nn.Module) -> Iterator[None]:
    """Put a network in eval mode inside the block and restore each module's flag afterwards.

    Examples
    --------
    >>> net = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2).eval())
    >>> with eval_mode(net):
    ...     net[0].training
    False
    >>> net[0].training, net[1].training
    (True, False)
    """
    flags = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in flags.items():
            module.training = training


def uncompiled(network: nn.Module) -> AbstractContextManager[object]:
    """Run what ``torch.compile`` has wrapped as it was written, inside the block.

    Examples
    --------
    >>> with uncompiled(nn.Linear(2, 2)) as plain:
    ...     plain is None
    True
    """
    compiled = any(
        type(module).__name__ == "OptimizedModule" or getattr(module, "_compiled_call_impl", None) is not None
        for module in network.modules()
    )
    if not compiled:  # to ask for it would load the compiler
        return nullcontext()
    return torch.compiler.set_stance("force_eager")
