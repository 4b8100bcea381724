"""Peak activation memory of one forward pass, from the storages that are alive at each operator."""

import weakref
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from coppice.core.dispatch import DispatchMode
from coppice.core.modes import eval_mode


def peak_activation_bytes(network: nn.Module, example: Float[Tensor, "1 *shape"]) -> int:
    """Measure the largest sum of activation bytes alive at one time, input included, weights not.

    Measured in eager PyTorch at the example's number format: an engine that plans its buffers or fuses operators
    may need less. Scratch space inside an operator is not seen.

    Parameters
    ----------
    network : nn.Module
        Left as it is.
    example : Tensor
        One input, batch of 1.

    Examples
    --------
    >>> peak_activation_bytes(nn.ReLU(), torch.zeros(1, 100))
    800
    """
    weights = {t.untyped_storage().data_ptr() for t in [*network.parameters(), *network.buffers()]}
    alive: dict[int, int] = {}
    peak = 0

    def notice(tensor: Tensor) -> None:
        nonlocal peak
        storage = tensor.untyped_storage()
        key = storage._cdata
        if storage.data_ptr() in weights or key in alive:
            return
        alive[key] = storage.nbytes()
        weakref.finalize(storage, alive.pop, key, None)
        peak = max(peak, sum(alive.values()))

    class Watch(DispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            for leaf in tree_leaves(out):
                if isinstance(leaf, Tensor):
                    notice(leaf)
            return out

    with torch.no_grad(), eval_mode(network):
        notice(example)
        with Watch():
            network(example)
    return peak
