"""Choose the floor of the logarithm, mixup and patience for ESC-10, on validation log-loss alone.

The test clips of each fold are neither trained on nor scored here. Seeds differ from those of the results. Every fit
runs all epochs, so that any patience can be read off its history afterwards. Interrupted, it goes on where it stopped.

    python experiments/choose_esc10_training.py --root PATH/TO/esc10 --jobs 2

takes about 45 minutes on two cores and writes docs/esc10-settings.md.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, cpu_count, delayed

import coppice as cp
from coppice.core import progress
from coppice.core.files import whole_file, write_text
from coppice.recipes.material import open_material
from coppice.recipes.recipe import load_recipe
from coppice.training.settings import TrainingSettings
from coppice.training.train import train

EPOCHS = 200
FOLDS = (1, 2, 3, 4, 5)
SEEDS = (100, 101)
PATIENCES = (10, 20, 30, 50)
# The preset's floor is the smallest step of float64 (numpy.spacing(1)).
CANDIDATES: dict[str, tuple[float, float]] = {
    "preset": (2.220446049250313e-16, 0.0),
    "floor": (1.0e-5, 0.0),
    "floor_mixup": (1.0e-5, 0.3),
}
CLOSE = 1.01
PAGE = Path("docs/esc10-settings.md")
RECORDS = Path("runs/esc10-settings")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, help="folder of ESC-10; downloaded without it")
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    tasks = [(name, fold, seed) for seed in SEEDS for fold in FOLDS for name in CANDIDATES]
    threads = max(1, cpu_count() // given.jobs)
    done = Parallel(n_jobs=given.jobs, return_as="generator")(
        delayed(_history)(given.root, *task, threads) for task in tasks
    )
    for number, ((name, fold, seed), history) in enumerate(zip(tasks, done, strict=True), start=1):
        best = history["validation_log_loss"].min()
        print(f"{number}/{len(tasks)} {name} fold {fold} seed {seed}: {best:.3f}", flush=True)
    write_text(PAGE, page({task: pd.read_csv(_place(*task)) for task in tasks}))
    print(f"wrote {PAGE}")


def _place(name: str, fold: int, seed: int) -> Path:
    return RECORDS / f"{name}-fold{fold}-seed{seed}.csv"


def _history(root: Path | None, name: str, fold: int, seed: int, threads: int) -> pd.DataFrame:
    place = _place(name, fold, seed)
    if not place.exists():
        torch.set_num_threads(threads)
        progress.console.quiet = True
        floor, mixup = CANDIDATES[name]
        choices = [f"front_end.log_offset={floor!r}", "split.strategy=folds", f"split.test_fold={fold}"]
        recipe = load_recipe(
            "recipes/esc10-results.yaml", changes=choices + ([f"data.root={root}"] if root is not None else [])
        )
        place.parent.mkdir(parents=True, exist_ok=True)
        settings = TrainingSettings(epochs=EPOCHS, patience=EPOCHS, mixup=mixup, seed=seed)
        work = place.with_suffix("")
        train(
            open_material(recipe),
            network=recipe.network.name,
            config=recipe.network.model_dump(exclude={"name"}),
            settings=settings,
            folder=work,
        )
        with whole_file(place) as partial:
            partial.write_bytes((work / "history.csv").read_bytes())
    return pd.read_csv(place)


def stopped(history: pd.DataFrame, patience: int) -> tuple[float, int]:
    """Return the lowest validation log-loss that early stopping would have found, and the epochs it would have run."""
    best, since = np.inf, 0
    losses = history["validation_log_loss"].to_numpy()
    for epoch, loss in enumerate(losses, start=1):
        best, since = (float(loss), 0) if loss < best else (best, since + 1)
        if since >= patience:
            return best, epoch
    return best, len(losses)


def page(histories: dict[tuple[str, int, int], pd.DataFrame]) -> str:
    """Apply the rules to the histories, and say in Markdown what they chose."""
    best = pd.Series({task: history["validation_log_loss"].min() for task, history in histories.items()})
    best.index.names = ["candidate", "fold", "seed"]
    means = best.groupby("candidate").mean().reindex(list(CANDIDATES))
    winner = means.idxmin()
    by_fold = best.groupby(["fold", "candidate"]).mean().unstack()[list(CANDIDATES)]
    own = {task: history for task, history in histories.items() if task[0] == winner}
    patient = {
        patience: np.mean([stopped(history, patience) for history in own.values()], axis=0)
        for patience in (*PATIENCES, EPOCHS)
    }
    patience = next(p for p in patient if patient[p][0] <= CLOSE * patient[EPOCHS][0])
    lines = [
        "# How the settings of the ESC-10 recipes were chosen",
        "",
        "Written by `experiments/choose_esc10_training.py`. Lowest validation log-loss (nats) of the unpruned network "
        f"in {EPOCHS} epochs; five folds × seeds {', '.join(map(str, SEEDS))}. The fold under test in each fit is "
        "neither trained on nor scored; the results use other seeds.",
        "",
        "## Floor of the logarithm, and mixup",
        "",
        "Rule: the lowest mean.",
        "",
        "| test fold | "
        + " | ".join(f"floor {floor:.2g}, mixup {mixup:g}" for floor, mixup in CANDIDATES.values())
        + " |",
        "|---|" + "---:|" * len(CANDIDATES),
    ]
    lines += [f"| {fold} | " + " | ".join(f"{value:.3f}" for value in row) + " |" for fold, row in by_fold.iterrows()]
    lines += [
        "| mean | " + " | ".join(f"{value:.3f}" for value in means) + " |",
        "",
        f"Chosen: floor {CANDIDATES[winner][0]:.2g}, mixup {CANDIDATES[winner][1]:g}. Fold by fold, each with its own "
        f"validation clips alone, the same rule chooses it in {int((by_fold.idxmin(axis=1) == winner).sum())} of "
        f"{len(FOLDS)} folds.",
        "",
        "## Patience",
        "",
        f"Rule: the shortest whose mean is within {CLOSE - 1:.0%} of that of all {EPOCHS} epochs.",
        "",
        "| patience | validation log-loss | epochs run |",
        "|---:|---:|---:|",
        *(f"| {p} | {loss:.3f} | {epochs:.0f} |" for p, (loss, epochs) in patient.items()),
        "",
        f"Chosen: {patience}.",
        "",
        f"Coppice {cp.__version__}, PyTorch {torch.__version__}.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
