"""The runs of a point that a search tries: done as in a grid, and judged by validation clips."""

import math
from pathlib import Path

from coppice import __version__
from coppice.core.errors import CoppiceError
from coppice.core.progress import say
from coppice.recipes.stages import locked_run, share_stages
from coppice.studies.capacity import jobs_that_fit, needed_bytes
from coppice.studies.planned import Planner
from coppice.studies.processes import in_processes
from coppice.studies.search_section import SCORES
from coppice.studies.search_space import Choice, SearchSpace
from coppice.studies.tasks import Outcome, Task, read_outcome


class TrialRuns:
    """Carries out points, each with every fold and seed.

    Parameters
    ----------
    planner : Planner
        Makes tasks of a point.
    space : SearchSpace
        Makes a point of a choice.
    jobs : int or None
        Runs side by side; as many as cores and memory carry if None.
    """

    def __init__(self, planner: Planner, space: SearchSpace, jobs: int | None) -> None:
        self.planner, self.space, self.jobs = planner, space, jobs

    def scores(self, choice: Choice) -> dict[str, float]:
        """Carry out the runs of a point as far as they are not done; return means over folds and seeds.

        Raises
        ------
        CoppiceError
            If a run failed.
        """
        tasks = self.planner.tasks_of([self.space.point(choice)])
        done = self._done([task for _, task, _ in tasks])
        found = {}
        for name in self.space.search.objectives:
            column = f"validation_{name}" if name in SCORES else name
            values = [done[task.key].scores[column] for _, task, _ in tasks]
            known = [float(value) for value in values if value is not None and math.isfinite(value)]
            if len(known) < len(values):
                raise CoppiceError(f"{name} is no number")
            found[name] = sum(known) / len(known)
        return found

    def do_bases(self, source: Path | None) -> None:
        """Train the unpruned networks, or take those that a grid has trained alike.

        Parameters
        ----------
        source : Path or None
            The folder of that grid.
        """
        tasks = self.planner.tasks_of([self.space.point(self.space.smallest()[0])])
        bases = list({base.key: base for _, _, base in tasks if base is not None}.values())
        waiting = [base for base in bases if not _is_done(outcome_of(base))]
        theirs = [] if source is None else [*source.glob("base/*")]
        for base in waiting:
            for folder in theirs:
                if _is_done(read_outcome(folder, base.key)) and (folder / "train").is_dir():
                    with locked_run(base.folder):
                        share_stages(folder, base.folder)
        if waiting:
            say(f"unpruned networks first: {len(waiting)}")
            self._done(bases)

    def _done(self, tasks: list[Task]) -> dict[str, Outcome]:
        """Do the tasks that are not done; return how each ended.

        Raises
        ------
        CoppiceError
            If one failed.
        """
        outcomes = {task.key: found for task in tasks if (found := outcome_of(task))}
        waiting = [task for task in tasks if not _is_done(outcomes.get(task.key))]
        if waiting:
            each = needed_bytes(self.planner.study.recipe, self.planner.data)
            for task, outcome in in_processes(waiting, min(len(waiting), jobs_that_fit(self.jobs, each))):
                outcomes[task.key] = outcome
        failed = [task for task in tasks if not _is_done(outcomes.get(task.key))]
        if failed:
            raise CoppiceError(f"{failed[0].name}: {outcomes[failed[0].key].reason}")
        return outcomes


def outcome_of(task: Task) -> Outcome | None:
    """Return how a task has ended; None if it has not."""
    return read_outcome(task.folder, task.key)


def _is_done(outcome: Outcome | None) -> bool:
    return outcome is not None and outcome.status == "done" and outcome.coppice_version == __version__
