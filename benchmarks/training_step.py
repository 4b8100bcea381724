"""The bare training step of the benchmarks: forward, loss, backward, Adam. No loader, no Lightning, no callbacks."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn


def arithmetic(half: bool) -> AbstractContextManager[object]:
    """Return the context of a forward pass: bfloat16 autocast, or float32."""
    return torch.autocast("cpu", torch.bfloat16) if half else nullcontext()


def training_step(network: nn.Module, *, half: bool) -> Callable[[Tensor, Tensor], None]:
    """Return what trains a network on a batch of inputs and targets, in its layout as it is."""
    optimizer = torch.optim.Adam(network.parameters())

    def step(inputs: Tensor, targets: Tensor) -> None:
        optimizer.zero_grad()
        with arithmetic(half):
            loss = nn.functional.cross_entropy(network(inputs), targets)
        loss.backward()
        optimizer.step()

    return step
