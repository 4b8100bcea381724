"""One training step of networks and of what pruning leaves of them: PyTorch as it comes, at its best, and Coppice's.

*As it comes*: contiguous, float32, glibc's allocator untouched. *At its best*: the faster of both layouts, autocast to
bfloat16 where the processor has it, and :func:`coppice.training.allocator.keep_freed_memory`. *Coppice*: the same with
:func:`coppice.training.layout.training_layout` and :func:`coppice.training.quick_layers.use_quick_layers_`.
The allocator is a matter of a whole process, so each side is a process of its own; they take turns, one step at a time,
and medians are compared: whatever else the machine does hits all.

``python benchmarks/bench_training.py`` prints; ``--page docs`` writes into ``docs/benchmarks.md``.
"""

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from coppice.core.progress import say
from coppice.networks.registry import build_network
from coppice.training.allocator import keep_freed_memory
from coppice.training.layout import training_layout
from coppice.training.precision import choose_precision
from coppice.training.quick_layers import use_quick_layers_
from page import machine, ms, table, write_section
from training_step import training_step

BATCH = 32
ROUNDS, WARMUP = 7, 2


@dataclass(frozen=True)
class Case:
    """A network and what it is given."""

    name: str
    network: str
    shape: tuple[int, int]
    options: Mapping[str, Any] = field(default_factory=dict)


def _dcase2021(widths: Sequence[int], frames: int = 500) -> Case:
    text = "-".join(map(str, widths))
    return Case(f"DCASE 2021, {text}", "dcase2021", (40, frames), {"widths": list(widths), "frames": frames})


CASES = (
    *map(_dcase2021, ([16, 16, 32], [16, 11, 32], [12, 12, 24], [8, 8, 16])),
    _dcase2021([16, 16, 32], frames=125),
    Case("Surrey 2022", "surrey2022", (40, 51), {"frames": 51}),
    Case("Surrey 2022, 12-12-22", "surrey2022", (40, 51), {"frames": 51, "widths": [12, 12, 22]}),
    Case("DCASE 2022", "dcase2022", (40, 51), {"frames": 51}),
    Case("CP-Mobile", "cp_mobile", (256, 64)),
    Case("VGGish", "vggish_net", (64, 96)),
)
# How a side trains: in bfloat16, its layout (or the one that is chosen), with quick layers and freed memory kept.
PLAIN = (False, "contiguous_format", False)


def worker(pipe: Connection, case: Case, half: bool, layout: str | None, ours: bool) -> None:
    """Train in one process; run one step whenever asked, and say how many seconds it took."""
    torch.manual_seed(0)
    network = build_network(case.network, **case.options).train()
    if layout is None:
        use_quick_layers_(network)
        network.to(memory_format=training_layout(network, half=half))
    else:
        network.to(memory_format=getattr(torch, layout))
    if ours:
        keep_freed_memory()
    step = training_step(network, half=half)
    inputs, targets = torch.randn(BATCH, 1, *case.shape), torch.randint(10, (BATCH,))
    while pipe.recv():
        begin = time.perf_counter()
        step(inputs, targets)
        pipe.send(time.perf_counter() - begin)


def compare(case: Case, sides: Sequence[tuple[bool, str | None, bool]]) -> list[float]:
    """Return the median seconds of a step of each side; the sides take turns."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for side in sides:
        here, there = context.Pipe()
        process = context.Process(target=worker, args=(there, case, *side), daemon=True)
        process.start()
        pipes.append(here)
        processes.append(process)
    times: list[list[float]] = [[] for _ in sides]
    for turn in range(WARMUP + ROUNDS):
        for pipe, seconds in zip(pipes, times, strict=True):
            pipe.send(True)
            spent = pipe.recv()
            if turn >= WARMUP:
                seconds.append(spent)
    for pipe, process in zip(pipes, processes, strict=True):
        pipe.send(False)
        process.join()
    return [statistics.median(seconds) for seconds in times]


def section(arithmetics: Sequence[str]) -> str:
    """Measure, and write what was found."""
    lines = [
        "## A training step",
        "",
        f"{machine()}, {torch.get_num_threads()} threads, batches of {BATCH} that lie in memory, Adam. Medians of "
        f"{ROUNDS} steps; the sides are processes that take turns. *As it comes*: PyTorch, contiguous, float32, "
        "glibc's allocator untouched. *At its best*: PyTorch in the faster of both layouts, with freed memory kept, in "
        "the arithmetic of the table. *Coppice*: with Winograd's convolutions and our own batch normalisation where "
        "they are quicker.",
        "",
    ]
    for arithmetic in arithmetics:
        half = arithmetic == "bfloat16"
        sides = [PLAIN, (half, "contiguous_format", True), (half, "channels_last", True), (half, None, True)]
        rows = []
        for case in CASES:
            say(f"{arithmetic}: {case.name}")
            plain, *best, ours = compare(case, sides)
            times = [ms(1e3 * value) for value in (plain, min(best), ours)]
            size = "×".join(map(str, case.shape))
            rows.append([f"{case.name}, {size}", *times, f"{plain / ours:.2f}×", f"**{min(best) / ours:.2f}×**"])
        head = [arithmetic, "as it comes, ms", "at its best, ms", "Coppice, ms", "to as it comes", "to its best"]
        lines += [table(head, rows)]
    return "\n".join(lines)


def main() -> None:
    """Measure; print, and write the page where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, help="folder of benchmarks.md, to be written")
    parser.add_argument("--of", default="", help="write a section of its own, such as AVX2, beside the others")
    given = parser.parse_args()
    chosen = choose_precision().name
    text = section(["float32"] + ([chosen] if chosen != "float32" else []))
    print(text)
    if given.page:
        write_section(given.page, "training", text, of=given.of)


if __name__ == "__main__":
    main()
