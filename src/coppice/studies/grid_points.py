"""The finished points of a grid, as far as a search can start from them."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from coppice import __version__
from coppice.core.errors import CoppiceError
from coppice.recipes.recipe import Recipe
from coppice.reports.study_records import read_study
from coppice.studies.grid import points, single
from coppice.studies.planned import Planner
from coppice.studies.search_space import Choice, SearchSpace
from coppice.studies.study_file import load_study

_OUTSIDE = "outside the search space"
_BEYOND = "beyond the budget"
_PARTS = ("data", "front_end", "network", "training")


@dataclass(frozen=True)
class GridPoint:
    """A point of a grid with what it scored on validation clips and what it costs, means over folds and seeds."""

    choice: Choice
    score: float
    cost: float


@dataclass(frozen=True)
class GridPoints:
    """What a search can start from.

    Attributes
    ----------
    name : str
        Of the grid.
    taken : tuple of GridPoint
    left_out : dict
        Reason → how many points.
    """

    name: str
    taken: tuple[GridPoint, ...]
    left_out: dict[str, int]

    @property
    def sentence(self) -> str:
        """How many points are taken, and why the others are not."""
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items())
        return f"{len(self.taken)} points of {self.name} are taken as tried" + (
            f"; left out: {reasons}" if reasons else ""
        )


def grid_points(folder: Path, planner: Planner, space: SearchSpace) -> GridPoints:
    """Read the finished points of a grid's folder.

    Parameters
    ----------
    folder : Path
        Of a study, finished or not.
    planner : Planner
        Of the search: its clips, folds and seeds.
    space : SearchSpace
        Points outside of it, or beyond its budget, are left out.

    Raises
    ------
    CoppiceError
        If the folder holds no grid, or one of another recipe, system or other clips.
    """
    record = read_study(folder)
    grid = load_study(folder / "study.yaml")
    if grid.file.search is not None:
        raise CoppiceError(f"{folder} holds a search; --from takes the folder of a grid.")
    _refuse_other(folder, grid.recipe, space.study.recipe)
    rows = record.rows
    taken, left_out = [], Counter[str]()
    ours = [(fold, seed) for fold in planner.folds for seed in planner.study.seeds]
    for point in points(grid):
        choice = space.choice_of(point.recipe)
        own = rows[rows["point"] == point.name]
        if choice is None:
            left_out[_OUTSIDE] += 1
            continue
        wanted = {f"runs/{planner.identity(single(point.recipe, fold, seed))}" for fold, seed in ours}
        reason = _why_not(own[own["run"].isin(wanted)], own, len(wanted), space.fits(choice))
        if reason is not None:
            left_out[reason] += 1
            continue
        found = own[own["run"].isin(wanted)]
        score, cost = found[f"validation_{space.search.score}"], found[space.search.cost]
        taken.append(GridPoint(choice, float(score.mean()), float(cost.mean())))
    if not taken and left_out.total() == left_out[_OUTSIDE]:
        raise CoppiceError(
            f"no point of {folder} is in the search space: other steps, layers, ratios, criteria or precisions."
        )
    return GridPoints(record.summary.name, tuple(taken), dict(left_out))


def _why_not(found: pd.DataFrame, own: pd.DataFrame, wanted: int, fits: bool) -> str | None:
    if not fits:
        return _BEYOND
    if not len(found) and len(own):
        return "of other clips, folds or seeds"
    done = found[found["status"] == "done"]
    if len(done) < wanted:
        return "not done on all folds and seeds"
    if (done["coppice_version"] != __version__).any():
        return "from another version of Coppice"
    if done[["validation_accuracy", "validation_log_loss"]].isna().any(axis=None):
        return "without validation scores"
    return None


def _other_parts(one: Recipe, other: Recipe) -> list[str]:
    def said(recipe: Recipe, part: str) -> Any:
        values = getattr(recipe, part).model_dump(mode="json")
        return {name: value for name, value in values.items() if (part, name) != ("data", "root")}

    return [part for part in _PARTS if said(one, part) != said(other, part)]


def _refuse_other(folder: Path, recipe: Recipe, ours: Recipe) -> None:
    other = _other_parts(recipe, ours)
    if other:
        raise CoppiceError(
            f"{folder} is a study of another recipe: {' and '.join(other)} differ; a search starts from a grid of the "
            "same recipe and system."
        )
