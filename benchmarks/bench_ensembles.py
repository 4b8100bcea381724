"""How long it takes to score every subset of members, to fit weights, and to design an ensemble.

    python benchmarks/bench_ensembles.py --write docs

Posteriors are drawn at random: only their number matters. Writes its section of docs/benchmarks.md.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from coppice.ensembles.blocks import make_blocks
from coppice.ensembles.combination import Combination
from coppice.ensembles.costs import Costs
from coppice.ensembles.design import design
from coppice.ensembles.fitting import fit_combination
from coppice.ensembles.members import Members
from coppice.ensembles.scores import scores_of
from coppice.ensembles.selection import members_in
from coppice.ensembles.subsets import score_subsets
from coppice.pruning.planning.budget import Budget
from page import machine, table, write_section

CLIPS, CLASSES = 29_680, 10
REPEATS = 3
NAIVE = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, help="folder of benchmarks.md; printed only without it")
    given = parser.parse_args()
    with threadpool_limits(1):
        text = section()
    print(text)
    if given.write:
        write_section(given.write, "ensembles", text)


def drawn(members: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    targets = np.repeat(np.arange(CLASSES), CLIPS // CLASSES)
    return random.dirichlet(np.full(CLASSES, 0.5), (members, CLIPS)), targets


def seconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def one_by_one(stacked: np.ndarray, targets: np.ndarray) -> float:
    """Time subsets scored each by itself, and say how long all would take."""
    masks = np.linspace(1, 2 ** len(stacked) - 1, NAIVE).astype(int)
    start = time.perf_counter()
    for mask in masks:
        scores_of(Combination.equal(len(stacked), members_in(int(mask)))(stacked), targets)
    return (time.perf_counter() - start) / NAIVE * (2 ** len(stacked) - 1)


def section() -> str:
    rows = []
    for members in (6, 12):
        stacked, targets = drawn(members)
        blocks = make_blocks(targets, count=20)
        alone = one_by_one(stacked, targets)
        together = seconds(lambda s=stacked, t=targets, b=blocks: score_subsets(s, t, b.of))
        name = f"{2**members - 1:,} subsets of {members}"
        rows.append([name, f"{together:.2f} s", f"{alone:.1f} s"])
    stacked, targets = drawn(6)
    rows.append(["weights and temperature of 6", f"{seconds(lambda: fit_combination(stacked, targets, temperature=True)):.2f} s", ""])  # fmt: skip  # noqa: E501
    members = Members(tuple("abcdef"), stacked, tuple(map(str, range(CLASSES))), targets)
    costs, budget = Costs.plain([{"macs": 1.0}] * 6), Budget(macs=4)

    def whole() -> object:
        return design(members, choose=True, costs=costs, budget=budget, weights="fit", calibrate=True)

    rows.append(["a whole design of 6, five blocks", f"{seconds(whole):.2f} s", ""])
    return "\n".join(
        [
            "## Ensembles",
            "",
            f"{machine()}, one thread. {CLIPS:,} clips of {CLASSES} classes; median of {REPEATS}. Every subset is "
            "scored by accuracy and log-loss, on each of 20 blocks of clips. *Each by itself*: its mean and scores "
            f"computed from the members, on all clips only; from {NAIVE} subsets.",
            "",
            table(["", "here", "each by itself"], rows),
        ]
    )


if __name__ == "__main__":
    main()
