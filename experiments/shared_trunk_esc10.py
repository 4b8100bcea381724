"""Five networks pruned from one parent, as an ensemble with and without a common trunk, on ESC-10.

The parent is the headline network of docs/results.md: conv2 pruned to 11 of 16 filters and fine-tuned. Five criteria
cut its conv3 to half, each its own way. Unshared, each of the five is fine-tuned as a whole; shared, all keep the
parent's conv1 and conv2, frozen, and their heads are fine-tuned alike; then once more the whole, trunk and heads, as
the one network that it is. Ensembles are the arithmetic mean with equal weights: nothing is chosen on test clips.
Interrupted, it goes on where it stopped.

    python experiments/shared_trunk_esc10.py --root PATH/TO/esc10 --runs runs/esc10-results --jobs 2

takes about half an hour for each seed on two cores and, once it has all folds, writes its part of docs/ensembles.md.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed

import coppice as cp
from coppice.core import progress
from coppice.core.files import make_folder, read_json, write_json
from coppice.core.seeds import derive_seed
from coppice.ensembles.build import ensemble
from coppice.ensembles.trunk import share_trunk
from coppice.evaluation.metrics import accuracy, log_loss
from coppice.networks.classifier import Classifier
from coppice.training.settings import TrainingSettings
from ensembles_page import table, write_part

FOLDS, SEEDS = (1, 2, 3, 4, 5), (0, 1, 2)
CRITERIA = ("cosine_similarity", "l1", "geometric_median", "operator_norm", "random")
PARENT = Path("systems/cosine/2-finetune/checkpoint.safetensors")
CUT = {"conv3": 0.5}
UNTIL = "conv2"
KINDS = ("parent", "one member", "five, unshared", "five, shared trunk", "five, shared trunk, then tuned as one")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="folder of ESC-10")
    parser.add_argument("--runs", type=Path, required=True, help="run folder of recipes/esc10-results.yaml")
    parser.add_argument("--records", type=Path, default=Path("runs/shared-trunk"))
    parser.add_argument("--folds", type=int, nargs="*", default=FOLDS)
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    make_folder(given.records)
    names = [(fold, seed) for fold in given.folds for seed in given.seeds]
    work = [delayed(measure)(given.root, given.runs, given.records, given.epochs, *name) for name in names]
    for number, name in enumerate(Parallel(n_jobs=given.jobs, return_as="generator")(work), start=1):
        print(f"{number}/{len(work)} {name}", flush=True)
    found = pd.DataFrame([row for path in sorted(given.records.glob("*.json")) for row in read_json(path)])
    print(found.groupby("kind")[["accuracy", "log_loss", "macs", "params"]].mean())
    if all(set(of_seed["fold"]) == set(FOLDS) for _, of_seed in found.groupby("seed")):
        write_part(Path(__file__).name, page(found))


def measure(root: Path, runs: Path, records: Path, epochs: int, fold: int, seed: int) -> str:
    """Make and score both ensembles of one fold and seed, unless that is done."""
    name = f"fold{fold}-seed{seed}"
    if (records / f"{name}.json").exists():
        return name
    torch.set_num_threads(1)
    progress.console.quiet = True
    parent = cp.load(runs / name / PARENT)
    choice = {"strategy": "folds", "test_fold": fold}
    prepared = cp.prepare("esc10", root=root, front_end=parent.front_end, split=choice)
    pruned = {}
    for criterion in CRITERIA:
        drawn = {"seed": derive_seed(seed, fold)} if criterion == "random" else {}
        pruned[criterion] = cp.prune(parent, cp.plan(parent, criterion, ratios=CUT, **drawn))
    settings = TrainingSettings(epochs=epochs, patience=20, mixup=0.3, seed=seed)
    work = records / name
    whole, heads = {}, {}
    for criterion, one in pruned.items():
        folder = work / "whole" / criterion
        whole[criterion] = kept(folder, partial(cp.finetune, one, prepared, settings=settings, folder=folder))
        folder = work / "heads" / criterion
        # The parent goes first and gives the trunk; it is no member.
        both = {"parent": parent, "head": one}
        share = partial(share_trunk, both, prepared, until=UNTIL, settings=settings, folder=folder)
        heads[criterion] = kept(folder, lambda share=share: share()["head"])
    log_mel, targets = prepared.log_mel("test"), prepared.targets("test").numpy()
    rows: list[dict[str, Any]] = []

    def score(kind: str, classifier: Classifier) -> None:
        posteriors = classifier.posteriors(log_mel).numpy()
        cost = cp.profile(classifier, latency=False)
        scores = {"accuracy": accuracy(posteriors, targets), "log_loss": log_loss(posteriors, targets)}
        rows.append(
            {"fold": fold, "seed": seed, "kind": kind, **scores, "macs": cost.macs, "params": cost.params_total}
        )

    score(KINDS[0], parent)
    for one in whole.values():
        score(KINDS[1], one)
    score(KINDS[2], ensemble(whole))
    shared, folder = ensemble(heads), work / "as-one"
    score(KINDS[3], shared)
    score(KINDS[4], kept(folder, partial(cp.finetune, shared, prepared, settings=settings, folder=folder)))
    write_json(records / f"{name}.json", rows)
    return name


def kept(folder: Path, make: Callable[[], Classifier]) -> Classifier:
    """Return what was made before, or make it and keep it."""
    path = folder / "checkpoint.safetensors"
    if not path.exists():
        cp.save(make(), path)
    return cp.load(path)


def page(found: pd.DataFrame) -> str:
    """Say in Markdown what was measured."""
    rows = []
    for kind in KINDS:
        mine = found[found["kind"] == kind]
        cost = mine[["macs", "params"]].mean()
        rows.append(
            [
                kind,
                f"{100 * mine['accuracy'].mean():.2f} %",
                f"{mine['log_loss'].mean():.4f}",
                f"{cost['macs'] / 1e6:.1f} M",
                f"{cost['params']:,.0f}",
            ]
        )
    by = found.groupby(["kind", "seed", "fold"])[["accuracy", "log_loss"]].mean()
    macs = found.groupby("kind")["macs"].mean()
    saved = 1 - macs[KINDS[3]] / macs[KINDS[2]]
    changes = []
    for kind in KINDS[3:]:
        change = by.loc[kind] - by.loc[KINDS[2]]
        points = 100 * change["accuracy"].groupby("fold").mean().to_numpy()
        folds = ", ".join(f"{point:+.2f}" for point in points)
        error = float(points.std(ddof=1) / np.sqrt(len(points)))
        changes.append(
            f"* {kind}: accuracy {np.mean(points):+.2f} ± {error:.2f} points (by fold: {folds}), log-loss "
            f"{change['log_loss'].mean():+.4f}"
        )
    seeds = ", ".join(map(str, sorted(found["seed"].unique())))
    return "\n".join(
        [
            f"Five folds of ESC-10, seed {seeds}; MACs of a clip of five seconds. The members are cut from the "
            f"parent in conv3, to half, by {', '.join(CRITERIA)}.",
            "",
            table(["", "accuracy", "log-loss", "MACs", "parameters"], rows),
            f"With the common trunk the ensemble has {100 * saved:.1f} % fewer MACs. Against the unshared one "
            "(± standard error over folds):",
            "",
            *changes,
        ]
    )


if __name__ == "__main__":
    main()
