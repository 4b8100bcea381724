"""Measured latency: warm-up, many repeats, median and p95, several networks in turn so that drift hits all alike."""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from coppice.core.modes import eval_mode


@dataclass(frozen=True)
class Latency:
    """Time of one forward pass in milliseconds: median and 95th percentile over the repeats."""

    latency_ms_p50: float
    latency_ms_p95: float


def measure_latency(
    networks: Mapping[str, nn.Module],
    example: Float[Tensor, "1 *shape"],
    *,
    repeats: int = 60,
    warmup: int = 8,
    threads: int = 1,
) -> dict[str, Latency]:
    """Time the networks on one clip, in turn, in one process.

    Eager PyTorch in float32, eval mode. Interleaving the networks (A B C A B C …) makes their ratios hold when
    the machine's speed drifts; the absolute times belong to this machine and this hour.

    Parameters
    ----------
    networks : mapping of name to nn.Module
        Left as they are.
    example : Tensor
        One input, batch of 1.
    repeats, warmup : int
        Timed and untimed passes of each network.
    threads : int
        torch's intra-op threads during the measurement; restored afterwards.

    Examples
    --------
    >>> times = measure_latency({"small": nn.Linear(4, 4)}, torch.zeros(1, 4), repeats=5)
    >>> times["small"].latency_ms_p50 <= times["small"].latency_ms_p95
    True
    """
    before = torch.get_num_threads()

    def call(network: nn.Module) -> Callable[[], object]:
        return lambda: network(example)

    with ExitStack() as stack:
        for network in networks.values():
            stack.enter_context(eval_mode(network))
        stack.enter_context(torch.inference_mode())
        torch.set_num_threads(threads)
        stack.callback(torch.set_num_threads, before)
        calls = {name: call(network) for name, network in networks.items()}
        return time_in_turn(calls, repeats=repeats, warmup=warmup)


def time_in_turn(calls: Mapping[str, Callable[[], object]], *, repeats: int, warmup: int) -> dict[str, Latency]:
    """Time calls of any kind, in turn (A B C A B C …), so that drift of the machine's speed hits all alike.

    Parameters
    ----------
    calls : mapping of name to callable
        Each does its work once.
    repeats, warmup : int
        Timed and untimed calls of each.

    Examples
    --------
    >>> sorted(time_in_turn({"a": lambda: 1, "b": lambda: 2}, repeats=3, warmup=1))
    ['a', 'b']
    """
    return {
        name: Latency(float(np.percentile(values, 50)), float(np.percentile(values, 95)))
        for name, values in durations_ms(calls, repeats=repeats, warmup=warmup).items()
    }


def durations_ms(calls: Mapping[str, Callable[[], object]], *, repeats: int, warmup: int) -> dict[str, list[float]]:
    """Return how long each call took each time in milliseconds, see :func:`time_in_turn`.

    Examples
    --------
    >>> len(durations_ms({"a": lambda: 1}, repeats=3, warmup=1)["a"])
    3
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(warmup + repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn >= warmup:
                times[name].append(1000 * (time.perf_counter() - start))
    return times
