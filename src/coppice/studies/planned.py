"""A study as tasks: the unpruned networks that are trained once, and the runs that go on from them."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from coppice.core.errors import CoppiceError
from coppice.core.files import digest
from coppice.core.progress import progress_bar
from coppice.datasets.prepare import Prepared
from coppice.recipes.material import check_systems, open_material
from coppice.recipes.recipe import Recipe
from coppice.studies.ensembles import EnsembleRun, ensemble_runs
from coppice.studies.grid import GridRun, Point, folds_to_use, identity, points, runs
from coppice.studies.study_file import Study
from coppice.studies.tasks import Task, read_outcome

_TABLE = ["clip_id", "file", "label", "fold", "recording", "device"]


class Planner:
    """Makes the tasks of a study's points.

    Parameters
    ----------
    study : Study
        Its clips are opened, and their features computed where they are not stored.
    folder : Path
        Absolute.

    Attributes
    ----------
    data : Prepared
        Clips of the base recipe.
    folds : list of int or None
        All that test.

    Raises
    ------
    CoppiceError
        If the clips cannot be used.
    """

    def __init__(self, study: Study, folder: Path) -> None:
        self.study, self.folder = study, folder
        self._materials: dict[str, Prepared] = {}
        self.data = self._material(study.recipe)
        self.folds = folds_to_use(study, self.data.dataset)

    def tasks_of(self, points: Sequence[Point]) -> list[tuple[GridRun, Task, Task | None]]:
        """Return each run of some points with its task, and that of the unpruned network that it goes on from.

        None where the study is of unpruned networks alone, each of which trains itself.

        Raises
        ------
        CoppiceError
            If two points are the same run.
        """
        tasks: list[tuple[GridRun, Task, Task | None]] = []
        planned = runs(self.study, points, self.folds)
        trainings = {self.identity(self._unpruned(run.recipe)) for run in planned}
        several = len(trainings) > len(self.folds) * len(self.study.seeds)
        pruned = any(run.recipe.systems for run in planned)
        named: dict[str, str] = {}
        for run in planned:
            base = self._base(run, several=several) if pruned else None
            key, trained = self.identity(run.recipe), None if base is None else base.folder
            if key in named:
                raise CoppiceError(
                    f"{self.study.what}: {run.name} is the same run as {named[key]}; exclude one of them."
                )
            named[key] = run.name
            tasks.append((run, Task(run.name, self.folder / "runs" / key, run.recipe, key, trained), base))
        return tasks

    def check(self, points: Sequence[Point]) -> None:
        """Go through the systems of points with an untrained network, once for all that differ only in their fits.

        Raises
        ------
        CoppiceError
            Naming the point.
        """
        seen = set()
        with progress_bar("checking", len(points), after_s=2.0) as advance:
            for point in points:
                key = digest(_without_fits(point.recipe))
                if key not in seen:
                    seen.add(key)
                    try:
                        check_systems(point.recipe, self._material(point.recipe))
                    except CoppiceError as error:
                        raise CoppiceError(f"{self.study.what}, point {point.name}: {error}") from error
                advance(1, point.name)

    def identity(self, recipe: Recipe) -> str:
        """Return the digest by which a single run is known; see :func:`coppice.studies.grid.identity`."""
        return identity(recipe, _clips_digest(self._material(recipe)))

    def _base(self, run: GridRun, *, several: bool) -> Task:
        recipe = self._unpruned(run.recipe)
        key = self.identity(recipe)
        places = [f"{run.place}-{key[:8]}", run.place] if several else [run.place, f"{run.place}-{key[:8]}"]
        # A study that has grown, or shrunk, takes what was trained under the other name.
        folders = [self.folder / "base" / place for place in places]
        folder = next((one for one in folders if read_outcome(one, key) is not None), folders[0])
        return Task(f"unpruned, {folder.name}", folder, recipe, key, is_base=True)

    def _unpruned(self, recipe: Recipe) -> Recipe:
        # Its number format is the study's, not the point's: one training serves all formats.
        update: dict[str, Any] = {"systems": {}, "headline": None, "quantize": self.study.recipe.quantize}
        return recipe.model_copy(update={**update, "title": f"{self.study.title}: unpruned"})

    def _material(self, recipe: Recipe) -> Prepared:
        key = digest(recipe.model_dump(mode="json", include={"data", "front_end"}))
        if key not in self._materials:
            self._materials[key] = open_material(recipe)
        return self._materials[key]


class PlannedStudy(Planner):
    """All tasks of a study's grid.

    Attributes
    ----------
    points : list of Point
    tasks : list of (GridRun, Task, Task or None)
        See :meth:`Planner.tasks_of`.
    ensembles : list of EnsembleRun
        What is put together of them.

    Raises
    ------
    CoppiceError
        If the grid is empty, too large or impossible, two points are the same run, or the clips cannot be used.
    """

    def __init__(self, study: Study, folder: Path) -> None:
        points(study)  # a grid that is too large is refused before any clip is read
        super().__init__(study, folder)
        self.points = points(study, folds=len(self.folds))
        self.tasks = self.tasks_of(self.points)
        self.ensembles: list[EnsembleRun] = ensemble_runs(study.ensembles, self.tasks, folder, study.what)

    @property
    def bases(self) -> list[Task]:
        """The tasks of the unpruned networks that others go on from, each once."""
        return list({base.key: base for _, _, base in self.tasks if base is not None}.values())


@lru_cache(maxsize=64)
def _clips_digest(data: Prepared) -> str:
    return digest(data.dataset.clips[_TABLE].to_csv(index=False))


def _without_fits(recipe: Recipe) -> dict[str, Any]:
    """Return what the check of a recipe depends on, but for numbers of fits, which are checked when it is read."""
    said: dict[str, Any] = recipe.model_dump(mode="json", include={"systems", "network", "front_end", "data"})
    steps = [step for steps in said["systems"].values() for step in steps if step["finetune"] is None]
    for part in [part for step in steps for part in (step["iterative"], step["progressive"]) if part is not None]:
        del part["finetune"]
    return {**said, "systems": steps}
