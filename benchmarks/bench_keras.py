"""Training beside Keras 3, and the whole training stack beside its bare steps: the DCASE 2021 baseline on 40×500.

Keras and tensorflow-cpu (1.6 GB) are no part of Coppice's environment: ``--install`` makes one of their own, once, from
``keras_requirements.txt``. Without it this script says so and measures the stack alone.

Keras gets its choice: float32 and mixed_bfloat16, TensorFlow's graphs and XLA, glibc as it comes and told to keep freed
memory, as ours is; what is fastest counts. Every setting and ours has a process of its own with the same number of
threads; they take turns, a few steps at a time. Then ``train`` as users call it takes turns with the same work bare.

``python benchmarks/bench_keras.py --install`` prints; ``--page docs`` writes into ``docs/benchmarks.md``.
"""

import argparse
import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from coppice.core.progress import say
from coppice.training.precision import choose_precision
from keras_environment import KerasProcess, Setting, install, is_installed
from our_training import TRAINING, VALIDATION, serve
from page import machine, ms, table, write_section

BATCHES = (32, 64)
THREADS = 2
ROUNDS, STEPS = 5, 3
# A setting that is so much slower than the best in the first round sits out the others.
TOO_SLOW = 1.5
TRAININGS, EPOCHS = 3, 4
FASTER, SHARE = 1.8, 0.9
ENVIRONMENT = Path(__file__).parents[1] / "runs" / "keras-environment"
SETTINGS = tuple(
    Setting(policy, **more) for policy in ("mixed_bfloat16", "float32") for more in ({}, {"keep": True}, {"xla": True})
)
OURS = "Coppice"
Steps = Callable[[int, int], list[float]]  # of a batch size and a count: the seconds of each step
Times = dict[str, dict[int, list[float]]]  # of a side and a batch size: the median step of each round


def main() -> None:
    """Measure; print, and write the page where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", type=Path, default=ENVIRONMENT, help="folder of Keras' own environment")
    parser.add_argument("--install", action="store_true", help="make that environment if it is not there")
    parser.add_argument("--page", type=Path, help="folder of benchmarks.md, to be written")
    parser.add_argument("--of", default="", help="write a section of its own, such as AVX2, beside the others")
    given = parser.parse_args()
    if given.install:
        install(given.environment)
    there = is_installed(given.environment)
    if not there:
        line = f"Keras is left out: it is not installed in {given.environment}; --install does that (1.6 GB)."
        if given.page:
            raise SystemExit(line)
        print(line)
    load = os.getloadavg()[0]
    with ours() as ask:
        times, versions = beside_keras(given.environment, partial(ask, "steps")) if there else ({}, {})
        stacks = {batch: whole_stack(partial(ask, "stack", batch)) for batch in BATCHES}
    text = section(times, versions, stacks, load) if there else stack_section(stacks)
    print(text)
    if given.page:
        write_section(given.page, "keras", text, of=given.of)


@contextmanager
def ours() -> Iterator[Callable[..., Any]]:
    """Start our process; yield what asks it."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there, THREADS), daemon=True)
    process.start()
    there.close()

    def ask(*what: object) -> Any:
        here.send(what)
        return here.recv()

    try:
        yield ask
    finally:
        here.close()
        process.join()


def beside_keras(environment: Path, steps: Steps) -> tuple[Times, dict[str, Any]]:
    """Let all settings and ours take turns; return their times, and Keras' versions."""
    with ExitStack() as stack:
        say(f"Keras builds and compiles, in {len(SETTINGS)} settings")
        children = []
        for setting in SETTINGS:
            children.append(KerasProcess(environment, setting, threads=THREADS, batches=BATCHES))
            stack.callback(children[-1].close)
        versions, *_ = [child.answer() for child in children]
        sides: dict[str, Steps] = {OURS: steps} | {str(child.setting): child.steps for child in children}
        times: Times = {name: {batch: [] for batch in BATCHES} for name in sides}
        for turn in range(ROUNDS):
            say(f"round {turn + 1} of {ROUNDS}: {', '.join(sides)}")
            for batch in BATCHES:
                for name, side in sides.items():
                    # The first step wakes up caches and threads.
                    times[name][batch].append(median(side(batch, 1 + STEPS)[1:]))
            if turn == 0:
                for child in children:
                    if is_slow(str(child.setting), times):
                        del sides[str(child.setting)]
                        child.close()
    return times, versions


def is_slow(name: str, times: Times) -> bool:
    """Say whether a setting of Keras is far behind the best at every batch size."""
    best = {batch: min(times[str(setting)][batch][0] for setting in SETTINGS) for batch in BATCHES}
    return all(times[name][batch][0] > TOO_SLOW * best[batch] for batch in BATCHES)


def whole_stack(train: Callable[[int], dict[str, float]]) -> list[dict[str, float]]:
    """Train some times; each training is followed by the same work bare."""
    say("the whole stack, and the same work bare")
    train(1)
    return [train(EPOCHS) for _ in range(TRAININGS)]


def fastest(times: Times, batch: int) -> str:
    """Return the setting of Keras that is fastest at a batch size; one that sat out cannot be."""
    whole = [str(setting) for setting in SETTINGS if len(times[str(setting)][batch]) == ROUNDS]
    return min(whole, key=lambda name: median(times[name][batch]))


def section(times: Times, versions: dict[str, Any], stacks: dict[int, list[dict[str, float]]], load: float) -> str:
    """Write the section of docs/benchmarks.md."""
    rows = []
    for name, side in times.items():
        star = "" if len(side[BATCHES[0]]) == ROUNDS else " *"
        cells = []
        for batch in BATCHES:
            seconds = median(side[batch])
            cells += [ms(1e3 * seconds), f"{1 / seconds:.2f}", f"{batch / seconds:.0f}"]
        rows.append([f"{name}{star}" if name == OURS else f"Keras, {name}{star}", *cells])
    ratios = []
    for batch in BATCHES:
        best = fastest(times, batch)
        pairs = [k / o for k, o in zip(times[best][batch], times[OURS][batch], strict=True)]
        ratio = median(times[best][batch]) / median(times[OURS][batch])
        ratios.append(
            f"* Batch {batch}: **{ratio:.2f}×** the steps per second of Keras' fastest setting, {best} (single rounds "
            f"{min(pairs):.2f} to {max(pairs):.2f}); {FASTER} was asked for."
        )
    head = [""] + [f"{batch}: {what}" for batch in BATCHES for what in ("ms a step", "steps/s", "clips/s")]
    precision = choose_precision()
    return (
        f"## Training beside Keras\n\n{machine()}; Keras {versions['keras']} on tensorflow-cpu "
        f"{versions['tensorflow']}, {THREADS} threads each. The DCASE 2021 baseline, 16-16-32 filters on 40×500 "
        f"log-mel, {versions['parameters']:,} parameters in Keras' count, Adam, dropout 0.3, batches of "
        f"{BATCHES[0]} and {BATCHES[1]} that lie in memory. Ours: {precision.name}, because {precision.reason}, "
        "and layers as docs/training.md says (Speed). "
        f"Medians of {ROUNDS} rounds in which the sides take turns, {STEPS} steps each; load average before: "
        f"{load:.1f}. Keras was tried in TensorFlow's graphs and with XLA (`jit_compile`), with glibc as it comes and "
        "told to keep freed memory (by variables of the environment), as ours tells it. Its backends JAX and PyTorch "
        "are not tried here: they were far slower on a processor when this project began.\n\n"
        + table(head, rows)
        + f"\\* More than {TOO_SLOW} times slower than the best in the first round, and not asked again.\n\n"
        + "\n".join(ratios)
        + "\n\n"
        + stack_section(stacks)
    )


def stack_section(stacks: dict[int, list[dict[str, float]]]) -> str:
    """Write what the whole stack leaves of the bare rate."""
    rows = []
    for batch, trainings in stacks.items():
        shares = {what: [one["bare"] / one[what] for one in trainings] for what in ("epochs", "call")}
        rows.append(
            [
                f"{batch}",
                f"{1e3 * median(one['bare'] for one in trainings) / EPOCHS:,.0f}",
                f"{1e3 * median(one['epochs'] for one in trainings) / EPOCHS:,.0f}",
                f"**{100 * median(shares['epochs']):.0f} %**",
                f"{100 * median(shares['call']):.0f} %",
                f"{100 * min(shares['call']):.0f} to {100 * max(shares['call']):.0f} %",
            ]
        )
    return (
        "### The whole stack\n\n"
        f"`train` on {TRAINING} clips for {EPOCHS} epochs, validated on {VALIDATION} after each: loader, Lightning, "
        "logging, callbacks, progress bar, resume points. *Bare*: as many training steps on batches cut before, and "
        "the forward passes of validation, and nothing else. *Epochs*: what `history.csv` says of them, validation "
        "included. *Call*: all of `train`, with building the network, measuring the normalisation, setting Lightning "
        "up and writing, which comes once, however many epochs follow. Medians of "
        f"{TRAININGS} trainings that take turns with the bare work; {100 * SHARE:.0f} % of the bare rate was asked "
        "for.\n\n"
        + table(["batch", "bare, ms an epoch", "epochs, ms each", "bare to epochs", "bare to call", "range"], rows)
    )


if __name__ == "__main__":
    main()
