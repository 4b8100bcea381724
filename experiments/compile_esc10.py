"""Set what the C computes beside PyTorch and ONNX Runtime on the clips of ESC-10: trained networks, float32 and int8.

Five folds by three seeds, unpruned and pruned, the 80 test clips of each fold; nothing is chosen.

    python experiments/quantize_esc10.py --data PATH/TO/data --runs runs/esc10-results
    python experiments/compile_esc10.py --data PATH/TO/data --runs runs/esc10-results

takes a minute or two and writes a part of docs/compiler.md. The first makes the int8 files that the second reads.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import coppice as cp
from coppice.compiler.compiled import compile_planned
from coppice.compiler.planned import TARGETS, planned
from coppice.compiler.programs import classifier_program, file_program
from coppice.core import progress
from coppice.core.files import write_text
from coppice.core.processor import processor
from coppice.native.toolchain import compiler
from quantize_esc10 import SYSTEMS

PAGE = Path("docs/compiler.md")
BEGIN, END = "<!-- written by experiments/compile_esc10.py -->", "<!-- end of compile_esc10 -->"
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with esc10")
    parser.add_argument("--runs", type=Path, required=True, help="run folder of recipes/esc10-results.yaml")
    parser.add_argument("--records", type=Path, default=Path("runs/int8"), help="of quantize_esc10.py")
    parser.add_argument("--folds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args()
    torch.set_num_threads(1)
    progress.console.quiet = True
    rows = []
    for fold in given.folds:
        for seed in given.seeds:
            for system in SYSTEMS:
                rows += compared(given, fold, seed, system)
                print(f"fold {fold}, seed {seed}, {system}", flush=True)
    before, _, rest = given.page.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2] or "\n"
    text = section(rows, given.folds, given.seeds)
    write_text(given.page, f"{before.rstrip()}\n\n{BEGIN}\n{text}{END}{after}")
    print(text)


def compared(given: argparse.Namespace, fold: int, seed: int, system: str) -> list[Row]:
    """Compute the test clips of a fold with one network in every way."""
    network = cp.load(given.runs / f"fold{fold}-seed{seed}" / SYSTEMS[system] / "checkpoint.safetensors")
    choice = {"strategy": "folds", "test_fold": fold}
    data = cp.prepare("esc10", root=given.data / "esc10", front_end=network.front_end, split=choice)
    log_mel = data.log_mel("test")
    file = cp.load_onnx(given.records / f"fold{fold}-seed{seed}-{system}-int8.onnx")
    clips = network.normalise(log_mel).numpy()
    programs = {
        "float32": (classifier_program(network), network.posteriors(log_mel).numpy()),
        "int8": (file_program(file.file), file.posteriors(log_mel).numpy()),
    }
    rows = []
    for precision, (program, expected) in programs.items():
        found = {
            target: compile_planned(planned(program, target=target, precision=precision), clips.shape[1:])(clips)
            for target in TARGETS
        }
        same = bool((found["simd"] == found["portable"]).all())
        rows += [{"system": system, "precision": precision, "target": target, "same": same}
                 | _apart(found[target], expected) for target in TARGETS]  # fmt: skip
    return rows


def _apart(found: np.ndarray, expected: np.ndarray) -> Row:
    return {
        "clips": len(found),
        "delta": float(np.abs(found - expected).max()),
        "agree": int((found.argmax(1) == expected.argmax(1)).sum()),
    }


def section(rows: Sequence[Row], folds: Sequence[int], seeds: Sequence[int]) -> str:
    """Say in Markdown how far apart they are."""
    lines = [
        "## Measured on ESC-10",
        "",
        f"The networks of `recipes/esc10-results.yaml`, folds {', '.join(map(str, folds))} by seeds "
        f"{', '.join(map(str, seeds))}, the test clips of each fold: float32 beside PyTorch, int8 beside the same file "
        f"in ONNX Runtime. Compiled by {compiler().version} for {processor()}.",
        "",
        "| network | numbers | target | clips | largest difference of a posterior | same class | other target |",
        "|---|---|---|---:|---:|---:|---|",
    ]
    for system in SYSTEMS:
        for precision in ("float32", "int8"):
            for target in TARGETS:
                kind = (system, precision, target)
                own = [row for row in rows if (row["system"], row["precision"], row["target"]) == kind]
                clips, agree = (sum(row[key] for row in own) for key in ("clips", "agree"))
                bits = "the same bits" if all(row["same"] for row in own) else "others"
                bits = bits if precision == "int8" else "–"
                lines.append(
                    f"| {system} | {precision} | {target} | {clips:,} | {max(row['delta'] for row in own):.1e} | "
                    f"{100 * agree / clips:.2f} % | {bits} |"
                )
    return "\n".join([*lines, "", ""])


if __name__ == "__main__":
    main()
