"""Proof that a pruned network equals the masked one: both are run on the same inputs and compared."""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from coppice.core.modes import eval_mode

ABSOLUTE_FLOAT64 = 1e-10
RELATIVE_FLOAT32 = 1e-5


def disagreement(pruned: nn.Module, masked: nn.Module, example: Float[Tensor, "1 *shape"]) -> str | None:
    """Say how a pruned network differs from the masked one; None when they agree.

    Both run on the example and on random numbers of its shape, on the CPU, where no reduced precision is in
    play. In float64 outputs may differ by 1e-10 (times the largest output where that is above 1), in float32
    by 1e-5 of the largest output. A network that only runs on its own device is compared there.

    Parameters
    ----------
    pruned, masked : nn.Module
        Not touched.
    example : Tensor [shape=(1, ...)]

    Returns
    -------
    str or None
        A clause such as ``"its outputs differ by 0.045"``.

    Examples
    --------
    >>> net = nn.Linear(3, 2)
    >>> disagreement(net, net, torch.zeros(1, 3)) is None
    True
    """
    inputs = [example]
    if example.is_floating_point():
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(example.shape, generator=generator, dtype=torch.float64)
        inputs.append(noise.to(example.device, example.dtype))
    for given in inputs:
        if isinstance(failed := _outputs(pruned, given), str):
            return failed
    compared = False
    for kind, tolerance, at_least in ((torch.float64, ABSOLUTE_FLOAT64, 1.0), (None, RELATIVE_FLOAT32, 0.0)):
        small, whole = (copy.deepcopy(network).to("cpu", kind) for network in (pruned, masked))
        for given in inputs:
            value = given.to("cpu", kind if given.is_floating_point() else None)
            expected = _outputs(whole, value)
            if isinstance(expected, str) or any(out.dtype not in (torch.float32, torch.float64) for out in expected):
                continue
            compared = True
            if (worse := _worse(_outputs(small, value), expected, tolerance, at_least=at_least)) is not None:
                return worse
    if not compared:
        for given in inputs:
            worse = _worse(_outputs(pruned, given), _outputs(masked, given), RELATIVE_FLOAT32, at_least=0.0)
            if worse is not None:
                return worse
    return None


def _outputs(network: nn.Module, given: Tensor) -> list[Tensor] | str:
    """Return all floating-point outputs, or why there are none."""
    try:
        with torch.no_grad(), eval_mode(network):
            leaves = tree_leaves(network(given))
    except Exception as error:
        return f"it does not run ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()]


def _worse(found: list[Tensor] | str, expected: list[Tensor] | str, tolerance: float, *, at_least: float) -> str | None:
    if isinstance(found, str) or isinstance(expected, str):
        return found if isinstance(found, str) else None
    if [tensor.shape for tensor in found] != [tensor.shape for tensor in expected]:
        return f"its outputs have shapes {[tuple(tensor.shape) for tensor in found]}"
    for mine, theirs in zip(found, expected, strict=True):
        largest = max(float(theirs.abs().max()) if theirs.numel() else 0.0, at_least)
        if not torch.allclose(mine, theirs, rtol=0.0, atol=tolerance * largest, equal_nan=True):
            return f"its outputs differ by {float((mine - theirs).abs().max()):.2g}"
    return None
