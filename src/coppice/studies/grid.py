"""The grid of a study: its points, and one run for each point, fold and seed."""

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from coppice.core.errors import CoppiceError
from coppice.core.files import digest
from coppice.datasets.clips import Dataset
from coppice.recipes.recipe import Recipe, check_recipe
from coppice.studies.axes import recipe_at
from coppice.studies.study_file import MOST_RUNS, Study, matches

_TRIES = 50  # points looked at for each one that a cap lets through, where most are excluded


@dataclass(frozen=True)
class Point:
    """One combination of the axes' values, without fold and seed.

    Attributes
    ----------
    name : str
        Such as ``"criterion=l1 ratios=0.5"``.
    labels : dict
        Axis → short text of its value.
    recipe : Recipe
        What a run of it does, but for fold and seed.
    """

    name: str
    labels: dict[str, str]
    recipe: Recipe


@dataclass(frozen=True)
class GridRun:
    """A point with a fold and a seed: one run.

    Attributes
    ----------
    point : Point
    fold : int or None
        The test fold; None where the recipe's own split is used.
    seed : int
    recipe : Recipe
        Single.
    """

    point: Point
    fold: int | None
    seed: int
    recipe: Recipe

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return ", ".join([self.point.name, self.place])

    @property
    def place(self) -> str:
        """The name of its fold and seed: ``"fold1-seed0"``, or ``"seed0"``."""
        return place_name(self.fold, self.seed)


def place_name(fold: int | None, seed: int) -> str:
    """Name a fold and a seed.

    Examples
    --------
    >>> place_name(1, 0), place_name(None, 2)
    ('fold1-seed0', 'seed2')
    """
    return f"seed{seed}" if fold is None else f"fold{fold}-seed{seed}"


def grid_size(study: Study) -> int:
    """Return how many points the axes make, before exclusions and cap; nothing is enumerated.

    Examples
    --------
    >>> from coppice.studies.study_file import load_study
    >>> study = load_study("criteria-shootout")
    >>> grid_size(study) == len(study.axes["criterion"]) * len(study.axes["ratios"])
    True
    """
    return math.prod(len(steps) for steps in _dimensions(study))


def points(study: Study, *, folds: int = 1) -> list[Point]:
    """Return the points of a study, checked, in the order of its file.

    Parameters
    ----------
    study : Study
        As loaded.
    folds : int >= 1
        How many runs of each seed a point has, for the limit and the cap.

    Raises
    ------
    CoppiceError
        If there are none, or more than :data:`~coppice.studies.study_file.MOST_RUNS` runs without a cap, or a point
        makes no recipe.
    """
    each = folds * len(study.seeds)
    if study.file.cap is not None and study.file.cap < each:
        raise CoppiceError(
            f"{study.what}: cap is {study.file.cap} and one point alone is {each} runs; give at least that."
        )
    chosen = _combinations(study) if study.file.cap is None else _capped(study, study.file.cap // each)
    if study.file.cap is None and grid_size(study) * each > MOST_RUNS:
        shape = f"{grid_size(study):,} points" + (f" by {each} folds and seeds" if each > 1 else "")
        raise CoppiceError(
            f"{study.what} is a grid of {shape}: {grid_size(study) * each:,} runs, and more than {MOST_RUNS:,} are "
            "refused; give fewer values, or a cap, such as cap: 1000, which draws so many at random."
        )
    found = [_point(study, labels) for labels in chosen]
    if not found:
        raise CoppiceError(f"{study.what}: every point is excluded, so the grid is empty; exclude fewer.")
    return found


def runs(study: Study, points: Sequence[Point], folds: Sequence[int | None]) -> list[GridRun]:
    """Return one run for each point, fold and seed; folds and seeds of a point stand together.

    Parameters
    ----------
    study : Study
        For its seeds.
    points : sequence of Point
        See :func:`points`.
    folds : sequence of int or None
        See :func:`folds_to_use`.
    """
    return [
        GridRun(point, fold, seed, single(point.recipe, fold, seed))
        for point in points
        for fold in folds
        for seed in study.seeds
    ]


def single(recipe: Recipe, fold: int | None, seed: int) -> Recipe:
    """Return a recipe for one test fold and one seed."""
    update: dict[str, Any] = {"folds": "one", "seeds": [seed]}
    if fold is not None:
        choice = {"strategy": "folds", "test_fold": fold, "validation_fold": None}
        update["split"] = recipe.split.model_copy(update=choice)
    return recipe.model_copy(update=update)


def folds_to_use(study: Study, dataset: Dataset) -> list[int | None]:
    """Return the folds that test, each once.

    Raises
    ------
    CoppiceError
        If the study asks for folds that the clips do not have.
    """
    if study.folds is None:
        return [study.recipe.split.test_fold]
    known = [*sorted(int(fold) for fold in dataset.clips["fold"].dropna().unique())]
    needed = 3 if study.recipe.split.validation_fraction else 2
    if len(known) < needed:
        raise CoppiceError(
            f"{study.what} has an axis fold and {dataset.name!r} has {len(known)} folds; it needs at least {needed}. "
            "Leave the axis out, or give a fold column."
        )
    if study.folds == "all":
        return [*known]
    for fold in study.folds:
        if fold not in known:
            raise CoppiceError(
                f"{study.what}: there is no fold {fold}; {dataset.name!r} has {', '.join(map(str, known))}."
            )
    return [*study.folds]


def identity(recipe: Recipe, clips: str) -> str:
    """Return the digest of all that a run's results depend on, but for the version of Coppice.

    Parameters
    ----------
    recipe : Recipe
        Single; what it is called does not count, nor where its clips lie or who else logs it.
    clips : str
        Digest of the clips.
    """
    values = recipe.model_dump(mode="json", exclude={"name", "title", "headline", "loggers"})
    values["data"].pop("root")
    return digest({"recipe": values, "clips": clips})


def _dimensions(study: Study) -> list[list[tuple[tuple[str, str], ...]]]:
    """Return one list of steps for each axis or group of zipped axes; a step is (axis, label) pairs."""
    group_of = {name: tuple(group) for group in study.file.zip for name in group}
    groups = dict.fromkeys(group_of.get(name, (name,)) for name in study.axes)
    return [
        [tuple(zip(group, labels, strict=True)) for labels in zip(*(study.axes[name] for name in group), strict=True)]
        for group in groups
    ]


def _combinations(study: Study) -> Iterator[dict[str, str]]:
    for steps in itertools.product(*_dimensions(study)):
        labels = dict(itertools.chain(*steps))
        if not _excluded(study, labels):
            yield labels


def _capped(study: Study, most: int) -> Iterator[dict[str, str]]:
    """Draw so many points, always the same ones, without going through the grid."""
    dimensions, size, tries = _dimensions(study), grid_size(study), _TRIES * most
    draw = random.Random(0)
    drawn = draw.sample(range(size), size) if size <= tries else (draw.randrange(size) for _ in range(tries))
    kept: list[tuple[int, dict[str, str]]] = []
    for number in dict.fromkeys(drawn):
        rest, steps = number, []
        for dimension in reversed(dimensions):
            rest, place = divmod(rest, len(dimension))
            steps.append(dimension[place])
        labels = dict(itertools.chain(*reversed(steps)))
        if not _excluded(study, labels):
            kept.append((number, labels))
        if len(kept) == most:
            break
    yield from (labels for _, labels in sorted(kept, key=lambda one: one[0]))


def _excluded(study: Study, labels: dict[str, str]) -> bool:
    def meets(name: str, wanted: Any) -> bool:
        value = study.axes[name][labels[name]]
        alternatives = [wanted, *wanted] if isinstance(wanted, list) else [wanted]
        return any(matches(one, labels[name], value) for one in alternatives)

    return any(all(meets(name, wanted) for name, wanted in partial.items()) for partial in study.file.exclude)


def _point(study: Study, labels: dict[str, str]) -> Point:
    labels = {name: labels[name] for name in study.axes}  # in the order of the file
    name = " ".join(f"{axis}={short}" for axis, short in labels.items()) or "the recipe itself"
    values = {axis: study.axes[axis][short] for axis, short in labels.items()}
    what = f"{study.what}, point {name}"
    recipe = recipe_at(study.base, study.system, values, what)
    recipe |= {"name": study.file.name, "title": f"{study.title}: {name}", "folds": "one", "seeds": [0]}
    return Point(name, labels, check_recipe(recipe, what))
