"""The same recipe over folds and seeds, and what the runs say together."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from joblib import Parallel, cpu_count, delayed

from coppice.core.errors import CoppiceError
from coppice.core.files import read_json, write_json, write_text
from coppice.core.progress import console, say
from coppice.core.seeds import numpy_stream
from coppice.datasets.clips import Dataset
from coppice.energy.energy import energy_of, sums_by_mode
from coppice.evaluation.metrics import LOG_LOSS_EPS
from coppice.recipes.environment import environment
from coppice.recipes.material import check_systems, open_material
from coppice.recipes.recipe import Recipe
from coppice.recipes.run import run_single
from coppice.recipes.stages import locked_run, stage_energy
from coppice.reports.report import write_report
from coppice.training.devices.machines import ONE_DEVICE, Machines

RESAMPLES = 2000
_COSTS = (
    "params_total",
    "params_bn_folded",
    "macs",
    "size_bytes_float32",
    "size_bytes_float16",
    "size_bytes_folded_float16",
    "file_bytes",
)


def run_cross_validation(recipe: Recipe, folder: Path, *, jobs: int = 1, machines: Machines = ONE_DEVICE) -> Path:
    """Carry out a recipe for every fold (``folds: all``) and every seed, and summarise.

    Each fold is the test fold once, with the fold before it for validation; nothing is chosen on a test fold.

    Parameters
    ----------
    recipe : Recipe
        With ``folds: all`` or several seeds.
    folder : Path
        Holds one run folder per fold and seed. What is done is not done again.
    jobs : int >= 1
        Processes; the processor's threads are divided among them. Numbers may differ in the last bits between
        numbers of threads.
    machines : Machines
        What the fits run on; several devices with one job only.

    Returns
    -------
    Path
        ``report.html``.

    Raises
    ------
    CoppiceError
        If the clips have no folds, or for anything a single run refuses.
    """
    data = open_material(recipe)
    singles = expand(recipe, data.dataset)
    check_systems(recipe, data)
    with locked_run(folder):
        write_json(folder / "environment.json", environment(recipe.training.precision, machines))
        write_text(folder / "recipe.yaml", recipe.to_yaml())
        tasks = [(single, folder / name) for name, single in singles.items()]
        if jobs == 1:
            for number, (single, place) in enumerate(tasks, start=1):
                say(f"run {number} of {len(tasks)}: {place.name}")
                run_single(single, place, machines=machines)
        else:
            threads = max(1, cpu_count() // jobs)
            done = Parallel(n_jobs=jobs, return_as="generator_unordered")(
                delayed(run_fold)(single, place, threads, min(jobs, len(tasks))) for single, place in tasks
            )
            for number, name in enumerate(done, start=1):
                say(f"{name} is done ({number} of {len(tasks)})")
        summary = summarise(recipe, folder, list(singles))
        for one in summary["energy"]:
            say(f"energy of all runs: {energy_of(one)}")
        write_json(folder / "summary.json", summary)
        return write_report(folder)


def expand(recipe: Recipe, dataset: Dataset) -> dict[str, Recipe]:
    """Return one single recipe for each fold and seed, by the name of its folder."""
    folds: list[int | None] = [recipe.split.test_fold]
    if recipe.folds == "all":
        folds = [*sorted(int(fold) for fold in dataset.clips["fold"].dropna().unique())]
        needed = 3 if recipe.split.validation_fraction else 2
        if len(folds) < needed:
            raise CoppiceError(
                f"folds is 'all' but {dataset.name!r} has {len(folds)} folds; cross-validation needs at least "
                f"{needed}. Give a fold column, or folds: one."
            )
    singles = {}
    for fold in folds:
        for seed in recipe.seeds:
            update: dict[str, Any] = {"folds": "one", "seeds": [seed]}
            if recipe.folds == "all":
                choice = {"strategy": "folds", "test_fold": fold, "validation_fold": None}
                update["split"] = recipe.split.model_copy(update=choice)
            name = f"fold{fold}-seed{seed}" if fold is not None else f"seed{seed}"
            singles[name] = recipe.model_copy(update=update)
    return singles


def summarise(recipe: Recipe, folder: Path, names: list[str]) -> dict[str, Any]:
    """Put the runs' records together: means, intervals and paired changes for every stage."""
    summaries = {name: read_json(folder / name / "summary.json", "run summary") for name in names}
    first = summaries[names[0]]["stages"]
    clips = pd.concat([pd.read_csv(folder / name / "data" / "clips.csv") for name in names])
    recording = clips.drop_duplicates("clip_id").set_index("clip_id")["recording"].astype(str)
    base = _outcomes(folder, summaries, "train")
    stages = []
    for entry in first:
        places = {name: folder / name / entry["folder"] for name in names}
        metrics = {name: read_json(place / "metrics.json", "metrics") for name, place in places.items()}
        tests = {name: record["evaluation"]["test"] for name, record in metrics.items()}
        own = _outcomes(folder, summaries, entry["folder"])
        stage: dict[str, Any] = {key: entry[key] for key in ("id", "title", "system", "kind", "parent")}
        for score in ("accuracy", "log_loss"):
            stage[score] = mean_with_interval(own[score], recording)
            change = None if entry["id"] == "train" else mean_with_interval(own[score] - base[score], recording)
            stage[f"{score}_change"] = change
        values = [test["macro_accuracy"] for test in tests.values()]
        stage["macro_accuracy"] = {"mean": float(np.mean(values)), "interval": None, "n": len(values)}
        for cost in _COSTS:
            counts = [record["complexity"][cost] for record in metrics.values()]
            stage[cost] = {"mean": float(np.mean(counts)), "min": min(counts), "max": max(counts)}
        stage["per_run"] = [
            {
                "fold": summaries[name]["test_fold"],
                "seed": summaries[name]["seed"],
                "accuracy": test["accuracy"],
                "log_loss": test["log_loss"],
            }
            for name, test in tests.items()
        ]
        spent = sums_by_mode({name: stage_energy(place) for name, place in places.items()})
        stage["energy"] = [one.to_dict() for one in spent]
        stages.append(stage)
    spent = sums_by_mode({f"{n}/{e['folder']}": stage_energy(folder / n / e["folder"]) for n in names for e in first})
    return {
        "version": 1,
        "kind": "cross_validation",
        "name": recipe.name,
        "title": recipe.title or recipe.name,
        "seconds": round(sum(summary["seconds"] for summary in summaries.values()), 2),
        "energy": [one.to_dict() for one in spent],
        "headline_system": recipe.headline_system,
        "runs": [
            {"folder": name, "fold": summary["test_fold"], "seed": summary["seed"]}
            for name, summary in summaries.items()
        ],
        "stages": stages,
        "interval": f"95 % bootstrap over test recordings and seeds, {RESAMPLES} resamples; changes are paired: "
        "the same clip, fold and seed before and after",
    }


def _outcomes(folder: Path, summaries: dict[str, Any], stage: str) -> dict[str, pd.DataFrame]:
    """Return per score one table: clips in rows, seeds in columns."""
    rows = []
    for name, summary in summaries.items():
        table = pd.read_csv(folder / name / stage / "predictions.csv")
        chosen = np.array([row[f"p_{row['label']}"] for row in table.to_dict("records")], dtype=float)
        rows.append(
            pd.DataFrame(
                {
                    "clip_id": table["clip_id"].astype(str),
                    "seed": summary["seed"],
                    "accuracy": (table["label"] == table["predicted"]).astype(float),
                    "log_loss": -np.log(np.clip(chosen, LOG_LOSS_EPS, None)),
                }
            )
        )
    whole = pd.concat(rows)
    return {score: whole.pivot(index="clip_id", columns="seed", values=score) for score in ("accuracy", "log_loss")}


def mean_with_interval(table: pd.DataFrame, recording: pd.Series) -> dict[str, Any]:
    """Return the mean of a clips × seeds table, with a bootstrap interval over recordings and seeds.

    Parameters
    ----------
    table : DataFrame
        A score per clip (rows, by ``clip_id``) and seed (columns), or its change between two systems.
    recording : Series
        The recording of each ``clip_id``: clips of one are drawn together.

    Returns
    -------
    dict
        ``mean``, ``interval`` (95 %, :data:`RESAMPLES` resamples) and ``n``, how many scores there are.

    Examples
    --------
    >>> table = pd.DataFrame({0: [1.0, 1.0], 1: [1.0, 1.0]}, index=["a", "b"])
    >>> mean_with_interval(table, pd.Series(["r", "s"], index=["a", "b"]))
    {'mean': 1.0, 'interval': [1.0, 1.0], 'n': 4}
    """
    values = table.to_numpy()
    _, group = np.unique(recording.reindex(table.index).to_numpy(dtype=str), return_inverse=True)
    sums = np.zeros((group.max() + 1, values.shape[1]))
    np.add.at(sums, group, values)
    sizes = np.bincount(group).astype(float)
    random = numpy_stream(0, "bootstrap", "cross-validation")

    def draw() -> float:
        recordings = random.integers(len(sizes), size=len(sizes))
        seeds = random.integers(values.shape[1], size=values.shape[1])
        return float(sums[np.ix_(recordings, seeds)].sum() / (sizes[recordings].sum() * len(seeds)))

    low, high = _percentiles(draw)
    return {"mean": float(values.mean()), "interval": [low, high], "n": int(values.size)}


def _percentiles(draw: Callable[[], float]) -> tuple[float, float]:
    scores: Float[np.ndarray, " draws"] = np.array([draw() for _ in range(RESAMPLES)])
    low, high = np.percentile(scores, [2.5, 97.5])
    return float(low), float(high)


def run_fold(recipe: Recipe, place: Path, threads: int, jobs: int) -> str:
    """Carry out one single run in a process of its own, beside others; return the name of its folder."""
    torch.set_num_threads(threads)
    console.quiet = True  # bars of several processes would write over each other
    run_single(recipe, place, jobs=jobs)
    return place.name
