"""Design ensembles of the DCASE 2022 networks of Singh and Plumbley from their published posteriors.

Which members, which weights and which temperature is chosen on some blocks of the 29,680 clips of the development test
and scored on the others, for several numbers of blocks.

    python experiments/ensembles_surrey2022.py --data PATH/TO/surrey2022

takes a minute and writes its part of docs/ensembles.md. The data holds a folder for each network, with
posteriors_float32.npy, posteriors_int8_dynamic.npy and float32.tflite.
"""

import argparse
from pathlib import Path

import numpy as np

import coppice as cp
from coppice.ensembles.advice import cost_text
from coppice.ensembles.blocks import make_blocks
from coppice.ensembles.combination import Combination
from coppice.ensembles.costs import Costs, costs_of
from coppice.ensembles.design import Design, design
from coppice.ensembles.members import Members, gather
from coppice.ensembles.scores import scores_of
from coppice.pruning.planning.budget import Budget
from ensembles_page import table, write_part

NAMES = ("C1", "C2", "C3", "C12", "C23", "C123")
KINDS = {"int8": "posteriors_int8_dynamic.npy", "float32": "posteriors_float32.npy"}
# Rows come in blocks of one class each; their order is that of the columns, too.
CLASSES = (
    ("airport", 2960),
    ("bus", 2970),
    ("shopping_mall", 2970),
    ("metro", 2970),
    ("street_pedestrian", 2970),
    ("public_square", 2970),
    ("street_traffic", 2970),
    ("tram", 2960),
    ("metro_station", 2970),
    ("park", 2970),
)
PUBLISHED = {"without C3": ("C3",), "without C23": ("C23",)}
BLOCKS = (2, 3, 4, 5, 10, 20)
DESIGNS = (
    ("int8", "9 M", "macro_accuracy", {}),
    ("int8", "9 M", "log_loss", {}),
    ("float32", "13 M", "macro_accuracy", {}),
    ("float32", "13 M", "log_loss", {}),
    ("int8", "20 M", "log_loss", {"weights": "fit", "calibrate": True}),
    ("int8", "20 M", "log_loss", {"weights": "fit", "calibrate": True, "how": "geometric"}),
    ("float32", "20 M", "log_loss", {"weights": "fit", "calibrate": True}),
    ("float32", "20 M", "log_loss", {"weights": "fit", "calibrate": True, "how": "geometric"}),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with C1, C2, ..., C123")
    given = parser.parse_args()
    networks = {name: cp.load(given.data / name / "float32.tflite", front_end="surrey2022") for name in NAMES}
    costs = costs_of(networks)
    members = {kind: read(given.data, file) for kind, file in KINDS.items()}
    lines = [*published(members, costs), *designs(members, costs), *redundancy(members["int8"], costs)]
    write_part(Path(__file__).name, "\n".join(lines))


def read(data: Path, file: str) -> Members:
    """Return the posteriors of all networks, with what is right."""
    labels = [name for name, _ in CLASSES]
    truth = [name for name, count in CLASSES for _ in range(count)]
    return gather({name: np.load(data / name / file) for name in NAMES}, labels=labels, truth=truth)


def published(members: dict[str, Members], costs: Costs) -> list[str]:
    """Score each network, and the ensembles that were submitted."""
    rows = []
    everyone = range(len(NAMES))
    subsets = {name: [index] for index, name in enumerate(NAMES)}
    subsets |= {"all six": list(everyone)}
    subsets |= {name: [i for i in everyone if NAMES[i] not in gone] for name, gone in PUBLISHED.items()}
    for name, subset in subsets.items():
        row = [name, cost_text("macs", costs.of(sum(1 << i for i in subset), "macs"))]
        for kind in KINDS:
            found = members[kind]
            scores = scores_of(Combination.equal(len(NAMES), subset)(found.posteriors), found.known_targets())
            row += [f"{100 * scores.macro_accuracy:.2f} %", f"{scores.log_loss:.4f}"]
        rows.append(row)
    return [
        "### The networks, and the published ensembles",
        "",
        table(["", "MACs", "int8", "log-loss", "float32", "log-loss"], rows),
    ]


def designs(members: dict[str, Members], costs: Costs) -> list[str]:
    """Choose members, weights and temperature, for several numbers of blocks."""
    rows = []
    for kind, macs, by, options in DESIGNS:
        targets = members[kind].known_targets()
        found = [
            design(
                members[kind],
                choose=True,
                by=by,
                costs=costs,
                budget=Budget(macs=macs),
                blocks=make_blocks(targets, count=count),
                **options,
            )
            for count in BLOCKS
        ]
        held = [one.steps[-1].held for one in found]
        cells = [f"{100 * scores.macro_accuracy:.2f} %, {scores.log_loss:.4f}" for scores in held]
        rows.append([*_what(kind, macs, by, options), *cells, *_choices(found, costs)])
    blocks = [f"{count} blocks" for count in BLOCKS]
    head = ["", "MACs", "chosen by", *blocks, "chosen on all clips", "chosen otherwise without some block"]
    return [
        "### Chosen on some blocks, scored on the others",
        "",
        "Accuracy and log-loss of held-out clips: each block has the members, weights and temperature that were chosen "
        "on the other blocks. Where two subsets are close, the choice may differ from block to block: the score of "
        "what was chosen on all clips is then too good, and that of held-out clips is not.",
        "",
        table(head, rows),
    ]


def _what(kind: str, macs: str, by: str, options: dict[str, object]) -> list[str]:
    how = ["weights and temperature"] if options.get("calibrate") else []
    how += ["geometric mean"] if options.get("how") == "geometric" else []
    return [", ".join([kind, *how]), f"≤ {macs}", "accuracy" if by == "macro_accuracy" else "log-loss"]


def _choices(found: list[Design], costs: Costs) -> list[str]:
    """Return what was chosen on all clips, and what else without some block, with their MACs."""
    rules = {rule.chosen for one in found for rule in one.by_block} - {found[0].combination.chosen}

    def named(chosen: tuple[int, ...]) -> str:
        mask = sum(1 << index for index in chosen)
        return f"{'+'.join(NAMES[index] for index in chosen)} ({cost_text('macs', costs.of(mask, 'macs'))})"

    return [named(found[0].combination.chosen), ", ".join(named(chosen) for chosen in sorted(rules)) or "–"]


def redundancy(members: Members, costs: Costs) -> list[str]:
    """Say what each member adds to all six."""
    found = design(members, costs=costs, blocks=make_blocks(members.known_targets(), count=20))
    rows = [
        [
            name,
            *(f"{100 * found.agreement[i, j]:.0f} % / {found.error_correlation[i, j]:.2f}" for j in range(len(NAMES))),
        ]
        for i, name in enumerate(NAMES)
    ]
    return [
        "### Redundancy, int8",
        "",
        "Share of clips on which two networks decide alike / correlation of their errors:",
        "",
        table(["", *NAMES], rows),
        "What `coppice ensemble` says of all six:",
        "",
        *(f"* {line}" for line in found.advice()),
    ]


if __name__ == "__main__":
    main()
