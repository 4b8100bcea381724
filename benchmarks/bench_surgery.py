"""Rank, plan, cut and prove whole networks: wall-clock seconds of each step, and what is left.

``python benchmarks/bench_surgery.py`` prints; ``--page docs`` writes into ``docs/benchmarks.md``.
"""

import argparse
import itertools
import time
from pathlib import Path

import torch
from torch import nn

from coppice.networks.cnn14 import CNN14
from coppice.pruning.evidence.rankings import rankings
from coppice.pruning.planning.decide import plan
from coppice.pruning.surgery.prune import prune
from coppice.pruning.tracing.channels import trace
from mobilenet_v3 import MobileNetV3
from page import machine, table, write_section

CRITERION = "cosine_similarity"
STEPS = ("rank", "trace", "plan", "prune")


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


def measure(network: nn.Module, example: torch.Tensor) -> dict[str, float]:
    """Return the seconds of a first run of everything, as a user waits for them."""
    marks = [time.perf_counter()]
    rankings(network, CRITERION)
    marks.append(time.perf_counter())
    trace(network, example)
    marks.append(time.perf_counter())
    decided = plan(network, CRITERION, ratios=0.5, example=example)
    marks.append(time.perf_counter())
    small = prune(network, decided, example=example)
    marks.append(time.perf_counter())
    with torch.no_grad():
        begin = time.perf_counter()
        network(example)
        forward_s = time.perf_counter() - begin
    before, after = (sum(parameter.numel() for parameter in one.parameters()) for one in (network, small))
    steps = dict(zip(STEPS, (later - one for one, later in itertools.pairwise(marks)), strict=True))
    return {"params": before, "left": after, **steps, "together": steps["plan"] + steps["prune"], "forward": forward_s}


def main() -> None:
    """Measure; print, and write the page where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, help="folder of benchmarks.md, to be written")
    page = parser.parse_args().page
    found = {
        "CNN14": measure(lively(CNN14()), torch.randn(1, 1, 64, 1001)),
        "MobileNetV3": measure(lively(MobileNetV3()), torch.randn(1, 1, 128, 1000)),
    }
    times = (*STEPS, "together", "forward")
    head = ["network", "parameters", "left", *STEPS, "plan + prune", "a forward pass"]
    rows = [
        [
            name,
            f"{one['params']:,}",
            f"{one['left']:,}",
            *(f"{one[key]:.2f}" for key in times),
        ]
        for name, one in found.items()
    ]
    text = (
        "## Whole networks: rank, plan, cut and prove\n\n"
        f"{machine()}. Half of the filters of every layer by `{CRITERION}`, ten seconds of sound; wall-clock seconds "
        f"of a first run on {torch.get_num_threads()} threads. Planning ranks and traces; pruning traces, cuts and "
        "proves, which takes a forward pass of the whole network. MobileNetV3 is the large one, with "
        "squeeze-and-excitation.\n\n" + table(head, rows)
    )
    print(text)
    if page:
        write_section(page, "surgery", text)


if __name__ == "__main__":
    main()
