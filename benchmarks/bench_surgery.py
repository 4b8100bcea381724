"""Rank, plan, cut and prove whole networks: wall-clock seconds of each step, and what is left."""

import itertools
import time

import torch
from torch import nn

from coppice.networks.cnn14 import CNN14
from coppice.pruning.planning.decide import plan, rankings
from coppice.pruning.surgery.prune import prune
from coppice.pruning.tracing.channels import trace
from mobilenet_v3 import MobileNetV3

CRITERION = "cosine_similarity"


def lively(network: nn.Module) -> nn.Module:
    """Give batch normalisations random parameters and statistics, as training does."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(std=0.1, generator=generator)
            module.running_mean.normal_(std=0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return network.eval()


def measure(name: str, network: nn.Module, example: torch.Tensor) -> None:
    """Print one line: the seconds of a first run of everything, as a user waits for them."""
    marks = [time.perf_counter()]
    rankings(network, CRITERION)
    marks.append(time.perf_counter())
    trace(network, example)
    marks.append(time.perf_counter())
    decided = plan(network, CRITERION, ratios=0.5, example=example)
    marks.append(time.perf_counter())
    small = prune(network, decided, example=example)
    marks.append(time.perf_counter())
    rank_s, trace_s, plan_s, prune_s = (after - before for before, after in itertools.pairwise(marks))
    with torch.no_grad():
        begin = time.perf_counter()
        network(example)
        forward_s = time.perf_counter() - begin
    sizes = [sum(parameter.numel() for parameter in one.parameters()) for one in (network, small)]
    print(
        f"{name:12s} {sizes[0]:12,d} {sizes[1]:12,d} {rank_s:8.2f} {trace_s:8.2f} {plan_s:8.2f} {prune_s:8.2f} "
        f"{plan_s + prune_s:8.2f} {forward_s:10.2f}"
    )


def main() -> None:
    """Print the table. Planning ranks and traces; pruning traces, cuts and proves."""
    print(f"{torch.get_num_threads()} threads; seconds; {CRITERION}, half of the filters of every layer")
    print("network            params   params left     rank    trace     plan    prune    total  a forward")
    measure("CNN14", lively(CNN14()), torch.randn(1, 1, 64, 1001))
    measure("MobileNetV3", lively(MobileNetV3()), torch.randn(1, 1, 128, 1000))


if __name__ == "__main__":
    main()
