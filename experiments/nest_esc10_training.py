"""Score ESC-10 with the settings that each fold's own validation clips choose, so that no test clip has a say.

Over five folds every clip is a validation clip once, of another fold's fit. What choose_esc10_training.py pools over
the folds is therefore not quite blind to the clips that are tested. Here each fold is trained with what its own
validation clips prefer. Needs runs/esc10-settings (choose_esc10_training.py) and takes up to an hour on two cores.

    python experiments/nest_esc10_training.py --root PATH/TO/esc10 --jobs 2

writes docs/esc10-settings-nested.md.
"""

import argparse
from pathlib import Path

import pandas as pd
from joblib import Parallel, cpu_count, delayed

from choose_esc10_training import CANDIDATES, FOLDS, PAGE, RECORDS, SEEDS
from coppice.core.files import write_text
from coppice.recipes.recipe import Recipe, load_recipe
from coppice.studies.cross_validation import run_fold, summarise

RUNS = Path("runs/esc10-nested")
NESTED_PAGE = PAGE.with_stem("esc10-settings-nested")
RESULT_SEEDS = (0, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, help="folder of ESC-10; downloaded without it")
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    chosen = {fold: own_choice(fold) for fold in FOLDS}
    tasks = {
        f"fold{fold}-seed{seed}": recipe_of(chosen[fold], fold, seed, given.root)
        for fold in FOLDS
        for seed in RESULT_SEEDS
    }
    threads = max(1, cpu_count() // given.jobs)
    done = Parallel(n_jobs=given.jobs, return_as="generator_unordered")(
        delayed(run_fold)(recipe, RUNS / name, threads) for name, recipe in tasks.items()
    )
    for number, name in enumerate(done, start=1):
        print(f"{number}/{len(tasks)} {name}", flush=True)
    summary = summarise(next(iter(tasks.values())), RUNS, list(tasks))
    write_text(NESTED_PAGE, page(chosen, summary))
    print(f"wrote {NESTED_PAGE}")


def own_choice(fold: int) -> str:
    """Return the candidate with the lowest mean validation log-loss in one fold's fits."""
    means = {
        name: sum(
            pd.read_csv(RECORDS / f"{name}-fold{fold}-seed{seed}.csv")["validation_log_loss"].min() for seed in SEEDS
        )
        for name in CANDIDATES
    }
    return min(means, key=means.__getitem__)


def recipe_of(candidate: str, fold: int, seed: int, root: Path | None) -> Recipe:
    floor, mixup = CANDIDATES[candidate]
    changes = [
        "folds=one",
        f"seeds=[{seed}]",
        "split.strategy=folds",
        f"split.test_fold={fold}",
        f"front_end.log_offset={floor!r}",
        f"training.mixup={mixup}",
        *([f"data.root={root}"] if root is not None else []),
    ]
    recipe = load_recipe("recipes/esc10-results.yaml", changes=changes)
    steps = [
        step if step.finetune is None else step.model_copy(
            update={"finetune": step.finetune.model_copy(update={"mixup": mixup})}
        )
        for step in recipe.systems["cosine"]
    ]  # fmt: skip
    return recipe.model_copy(update={"systems": {"cosine": steps}})


def page(chosen: dict[int, str], summary: dict) -> str:
    """Say in Markdown what each fold chose, and what came of it on the test clips."""
    stages = {stage["id"]: stage for stage in summary["stages"]}
    unpruned = stages["train"]
    pruned = next(s for s in reversed(summary["stages"]) if s["system"] == "cosine" and s["kind"] == "finetune")

    def points(score: dict) -> str:
        low, high = (100 * value for value in score["interval"])
        return f"{100 * score['mean']:.1f} ({low:.1f} to {high:.1f})"

    lines = [
        "# ESC-10 with settings chosen fold by fold",
        "",
        "Written by `experiments/nest_esc10_training.py`. Each fold is trained, cut and fine-tuned with the settings "
        f"that its own validation clips prefer (table in {PAGE.name}), so that no test clip has a say in anything.",
        "",
        "| test fold | floor | mixup |",
        "|---|---:|---:|",
        *(f"| {fold} | {CANDIDATES[name][0]:.2g} | {CANDIDATES[name][1]:g} |" for fold, name in chosen.items()),
        "",
        "| five folds × three seeds | test accuracy, % | log-loss, nats |",
        "|---|---:|---:|",
        f"| unpruned | {points(unpruned['accuracy'])} | {unpruned['log_loss']['mean']:.3f} |",
        f"| cosine similarity, 11 of conv2's 16 | {points(pruned['accuracy'])} | {pruned['log_loss']['mean']:.3f} |",
        f"| paired change, points | {points(pruned['accuracy_change'])} | {pruned['log_loss_change']['mean']:+.3f} |",
        "",
        f"In brackets: {summary['interval']}.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
