"""Proof that a pruned network equals the masked one: both are run on the same inputs and compared."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from coppice.core.modes import eval_mode, uncompiled

ABSOLUTE_FLOAT64 = 1e-10
RELATIVE_FLOAT32 = 1e-5
SHORTEST, LONGER = 128, 4  # a long clip is first tried at 128 frames, then at 512, 2048, ...

Outputs = list[Tensor] | str


def disagreement(pruned: nn.Module, masked: nn.Module, example: Float[Tensor, "1 *shape"]) -> str | None:
    """Say how a pruned network differs from the masked one; None when they agree.

    Both run on random numbers of the example's shape, and on the example itself where these tell nothing (the
    outputs are not finite, or the input is not made of floating-point numbers), on the CPU, where no reduced
    precision is in play.

    1. In the networks' own precision, at full length; in float32 outputs may differ by 1e-5 of the largest.
    2. In float64, where they may differ by 1e-10 (times the largest output where that is above 1). A network that
       takes clips of any length is given a short one here: which filters its weights hold does not depend on it.
       Where step 1 found more than its tolerance, the full length decides, so that a network which magnifies
       rounding is not refused for it.

    A network that only runs on its own device is compared there.

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
    inputs = [_noise(example), example] if example.is_floating_point() else [example]
    if not _on_cpu(pruned) and isinstance(failed := _outputs(pruned, inputs[0]), str):
        return failed
    small, whole = (network if _on_cpu(network) else copy.deepcopy(network).cpu() for network in (pruned, masked))
    own = _compare(small, whole, [[given.cpu()] for given in inputs])
    if own.fatal or own.exact:
        return own.problem
    doubles = [given.to("cpu", torch.float64 if given.is_floating_point() else None) for given in inputs]
    tried = [[given] if own.problem else _lengths(given) for given in doubles]
    exact = _compare(_doubled(small), _doubled(whole), tried)
    if exact.compared:
        return exact.problem
    if own.compared:
        return own.problem
    return _compare(pruned, masked, [[given] for given in inputs], any_type=True).problem


@dataclass(frozen=True)
class _Verdict:
    """What a comparison says: of which kind it was, and what is wrong."""

    compared: bool = False
    exact: bool = False  # in float64
    problem: str | None = None
    fatal: bool = False  # not a matter of rounding


def _compare(
    pruned: nn.Module, masked: nn.Module, inputs: Sequence[Iterable[Tensor]], *, any_type: bool = False
) -> _Verdict:
    """Compare two networks on the first inputs that tell something; of each only the first length that runs."""
    verdict = _Verdict()
    for lengths in inputs:
        for given in lengths:
            expected = _outputs(masked, given)
            if isinstance(expected, str) or not (any_type or _precise(expected)):
                continue
            verdict = _judged(_outputs(pruned, given), expected)
            if verdict.problem is not None or all(bool(out.isfinite().all()) for out in expected):
                return verdict
            break
    return verdict


def _noise(example: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(example.shape, generator=generator, dtype=torch.float64)
    return noise.to(example.device, example.dtype)


def _on_cpu(network: nn.Module) -> bool:
    return all(tensor.device.type == "cpu" for tensor in (*network.parameters(), *network.buffers()))


def _doubled(network: nn.Module) -> nn.Module:
    """Return a copy in float64; each tensor is copied once, while it is converted."""
    doubles: dict[int, Any] = {}
    for tensor in (*network.parameters(), *network.buffers()):
        made = tensor.detach().to(torch.float64 if tensor.is_floating_point() else tensor.dtype, copy=True)
        doubles[id(tensor)] = nn.Parameter(made, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else made
    return copy.deepcopy(network, doubles)


def _lengths(given: Tensor) -> Iterator[Tensor]:
    """Return beginnings of an input along its longest axis, the shortest first, and at last the whole."""
    axis = max(range(1, given.ndim), key=lambda axis: given.shape[axis], default=0)
    length = SHORTEST
    while given.ndim > 1 and length < given.shape[axis]:
        yield given.narrow(axis, 0, length)
        length *= LONGER
    yield given


def _outputs(network: nn.Module, given: Tensor) -> Outputs:
    """Return all floating-point outputs, or why there are none."""
    try:
        with torch.no_grad(), eval_mode(network), uncompiled(network):
            leaves = tree_leaves(network(given))
    except Exception as error:
        return f"it does not run ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()]


def _precise(outputs: list[Tensor]) -> bool:
    return all(out.dtype in (torch.float32, torch.float64) for out in outputs)


def _judged(found: Outputs, expected: list[Tensor]) -> _Verdict:
    if isinstance(found, str):
        return _Verdict(compared=True, problem=found, fatal=True)
    if [tensor.shape for tensor in found] != [tensor.shape for tensor in expected]:
        shapes = [tuple(tensor.shape) for tensor in found]
        return _Verdict(compared=True, problem=f"its outputs have shapes {shapes}", fatal=True)
    exact = all(out.dtype == torch.float64 for out in expected)
    for mine, theirs in zip(found, expected, strict=True):
        finite = theirs[theirs.isfinite()]
        largest = float(finite.abs().max()) if finite.numel() else 0.0
        double = theirs.dtype == torch.float64
        allowed = ABSOLUTE_FLOAT64 * max(largest, 1.0) if double else RELATIVE_FLOAT32 * largest
        if not torch.allclose(mine, theirs, rtol=0.0, atol=allowed, equal_nan=True):
            return _Verdict(True, exact, f"its outputs differ by {float((mine - theirs).abs().max()):.2g}")
    return _Verdict(True, exact)
