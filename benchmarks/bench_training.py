"""One training step of the DCASE 2021 baseline at batch 32: plain PyTorch beside Coppice's settings.

Plain: contiguous, float32, glibc as it comes. Ours: :func:`coppice.training.layout.training_layout`, autocast as
:func:`coppice.training.precision.choose_precision` says, and :func:`coppice.training.allocator.keep_freed_memory`,
which holds for a whole process. So each side is a process of its own; they take turns, one step at a time, and
medians are compared: whatever else the machine does hits both.
"""

import multiprocessing
import statistics
import time
from multiprocessing.connection import Connection

import torch

from coppice.networks.dcase2021 import DCASE2021
from coppice.training.allocator import keep_freed_memory
from coppice.training.layout import training_layout
from coppice.training.precision import choose_precision
from training_step import training_step

BATCH = 32
ROUNDS, WARMUP = 5, 2
WIDTHS, PRUNED = (16, 16, 32), (16, 11, 32)


def worker(pipe: Connection, widths: tuple[int, ...], frames: int, ours: bool, layout: str | None) -> None:
    """Train in one process; run one step whenever asked, and say how many seconds it took."""
    torch.manual_seed(0)
    network = DCASE2021(widths=widths, frames=frames).train()
    if ours:
        keep_freed_memory()
        network.to(memory_format=getattr(torch, layout) if layout else training_layout(network))
    step = training_step(network, half=ours and choose_precision().name == "bfloat16")
    inputs, targets = torch.randn(BATCH, 1, 40, frames), torch.randint(10, (BATCH,))
    while pipe.recv():
        begin = time.perf_counter()
        step(inputs, targets)
        pipe.send(time.perf_counter() - begin)


def compare(*sides: tuple[tuple[int, ...], int, bool, str | None]) -> list[float]:
    """Return the median seconds of a step of each side; the sides take turns."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for side in sides:
        here, there = context.Pipe()
        process = context.Process(target=worker, args=(there, *side), daemon=True)
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


def main() -> None:
    """Print one line per comparison: medians of one step, their ratio and what it should be."""
    print(f"precision: {choose_precision()}; {torch.get_num_threads()} threads; batch {BATCH}")
    for frames, target in ((500, 3.5), (250, 2.0)):
        plain, ours = compare((WIDTHS, frames, False, None), (WIDTHS, frames, True, None))
        print(
            f"40×{frames} {list(WIDTHS)}: plain {1e3 * plain:.0f} ms, ours {1e3 * ours:.0f} ms, "
            f"ratio {plain / ours:.2f} (target ≥ {target})"
        )
    last, contiguous = (
        (PRUNED, 250, True, "channels_last"),
        (PRUNED, 250, True, "contiguous_format"),
    )
    slow, fast = compare(last, contiguous)
    print(
        f"40×250 {list(PRUNED)}, ours: channels_last {1e3 * slow:.0f} ms, contiguous {1e3 * fast:.0f} ms, "
        f"ratio {slow / fast:.2f} (target > 1, which is why such widths train contiguous)"
    )


if __name__ == "__main__":
    main()
