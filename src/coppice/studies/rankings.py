"""How the rankings of a run were made where similarities decide: their time, their error, and what exact ones keep."""

import csv
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from coppice.core.files import whole_file
from coppice.criteria.approximation import EXACT, approximation, ranks_by_similarity
from coppice.networks.checkpoint import load
from coppice.networks.classifier import Classifier
from coppice.pruning.plan import PruningPlan
from coppice.pruning.planning.budget import Budget
from coppice.pruning.planning.decide import plan
from coppice.pruning.tracing.filters import filters_first
from coppice.recipes.recipe import Recipe
from coppice.recipes.step import Prune
from coppice.recipes.steps import plain_steps
from coppice.studies.axes import SYSTEM

RANKING = {
    "ranking_ms": "processor time of ranking all layers, measured after the run; empty if similarities do not decide",
    "similarity_error": "spectral norm of W − W̃, exact similarities and those ranked by: of the layer with the largest",
    "kept_as_exact": "filters kept by this and by cosine_similarity, as a share of those that either keeps",
}
LAYER = {
    "run": "run folder, relative to the study's",
    "point": "values of the axes, without fold and seed",
    "fold": "test fold; empty where the recipe's own split is used",
    "seed": "of the run",
    "stage": "which prune step",
    "layer": "name of the layer",
    "filters": "filters before the cut",
    "kept": "filters behind it",
    "ranking_ms": "processor time of ranking this layer",
    "similarity_error": "spectral norm of W − W̃",
    "kept_as_exact": "filters kept by this and by cosine_similarity, as a share of those that either keeps",
    "smallest_m": "smallest m with which the set that nystrom itself keeps is that of cosine_similarity; empty if none",
}
Facts = dict[str, Any]


def ranking_facts(recipe: Recipe, folder: Path) -> list[Facts]:
    """Look at every cut of a finished run in which similarities decided; each layer is a mapping.

    Parameters
    ----------
    recipe : Recipe
        Single, with the one system of a point.
    folder : Path
        The run folder, finished.
    """
    before, found = folder / "train", []
    for number, step in enumerate(recipe.systems.get(SYSTEM, []), start=1):
        for plain in plain_steps(step, number, partial(load, before / "checkpoint.safetensors")):
            stage = folder / "systems" / SYSTEM / plain.name
            if plain.step.prune is not None and ranks_by_similarity(plain.step.prune.criterion):
                classifier = load(before / "checkpoint.safetensors")
                done = PruningPlan.load(stage / "plan.json")
                found += [{"stage": plain.name, **facts} for facts in _layers(classifier, done, plain.step.prune)]
            before = stage
    return found


def ranking_scores(layers: Iterable[Facts]) -> dict[str, float]:
    """Return the columns of ``results.csv`` that layers make; none where there is no layer.

    Examples
    --------
    >>> layer = {"ranking_ms": 1.5, "similarity_error": 0.5, "kept_by_both": 3, "kept_by_either": 5}
    >>> ranking_scores([layer, {**layer, "similarity_error": 0.25}])
    {'ranking_ms': 3.0, 'similarity_error': 0.5, 'kept_as_exact': 0.6}
    """
    layers = list(layers)
    if not layers:
        return {}
    both, either = (sum(layer[f"kept_by_{which}"] for layer in layers) for which in ("both", "either"))
    return {
        "ranking_ms": sum(layer["ranking_ms"] for layer in layers),
        "similarity_error": max(layer["similarity_error"] for layer in layers),
        "kept_as_exact": both / either,
    }


def write_rankings(path: Path, rows: Iterable[tuple[Facts, list[Facts]]]) -> None:
    """Write the table of layers, whole; without any, remove what an earlier call left.

    Parameters
    ----------
    path : Path
        ``rankings.csv`` in the study's folder.
    rows : iterable of (mapping, list of mapping)
        For each run what names it, and its layers.
    """
    layers = [{**names, **facts} for names, found in rows for facts in found]
    if not layers:
        path.unlink(missing_ok=True)
        return
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(LAYER), restval="", extrasaction="ignore")
        writer.writeheader()
        for layer in layers:
            writer.writerow({**layer, "kept_as_exact": layer["kept_by_both"] / layer["kept_by_either"]})


def _layers(classifier: Classifier, done: PruningPlan, said: Prune) -> Iterator[Facts]:
    options = said.model_dump(exclude={"compensate", "criterion"})
    budget = None if said.budget is None else Budget.from_mapping(said.budget)
    exact = plan(classifier, EXACT, **{**options, "budget": budget})
    for layer in done.layers:
        kept, wanted = set(layer.keep), set(exact.keep(layer.name) or range(layer.filters))
        measured = approximation(filters_first(classifier.network.get_submodule(layer.name)), said.criterion)
        yield {
            "layer": layer.name,
            "filters": layer.filters,
            "kept": len(kept),
            **vars(measured),
            "kept_by_both": len(kept & wanted),
            "kept_by_either": len(kept | wanted),
        }
