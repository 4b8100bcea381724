"""The verb ``study``: all runs of a grid, what they share done once, and nothing done twice."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from coppice import __version__
from coppice.core.errors import CoppiceError
from coppice.core.files import plain_os_errors, read_json, write_json, write_text
from coppice.core.progress import progress_bar, say
from coppice.core.units import percent_text
from coppice.recipes.environment import environment
from coppice.recipes.stages import locked_run
from coppice.reports.study_page import write_study_page
from coppice.reports.study_records import KIND
from coppice.reports.wording import plural
from coppice.studies.capacity import jobs_that_fit, needed_bytes
from coppice.studies.ensembles import do_ensembles
from coppice.studies.exchange import Exchange
from coppice.studies.planned import PlannedStudy
from coppice.studies.processes import in_processes
from coppice.studies.results import Row, write_results
from coppice.studies.study_file import Study, load_study
from coppice.studies.tasks import Outcome, Task, failed, read_outcome, record

Workers = Callable[[list[Task], int], Iterator[tuple[Task, Outcome]]]  # tasks, and the bytes that each needs


def run_study(
    study: str | Path | Study,
    *,
    out: str | Path | None = None,
    changes: Sequence[str] = (),
    jobs: int | None = None,
    cluster: str | None = None,
    share: str | None = None,
) -> Path:
    """Carry out a study: every point of its grid with every fold and seed.

    The unpruned network of each fold and seed is trained once, in ``base/``, and every point goes on from it, in
    ``runs/``. A run that is done is not done again, one that failed is tried again, and one that was interrupted goes
    on; so the same call continues a study whose process was killed, and adds to one whose file has grown.

    Parameters
    ----------
    study : str, Path or Study
        A YAML file, the name of a shipped study, or a study.
    out : path, optional
        The folder; ``runs/<name>`` if not given.
    changes : sequence of str
        ``"key=value"`` for the base recipe, when ``study`` is not a Study.
    jobs : int, optional
        Runs side by side, one thread each; as many as cores and memory carry if not given. The numbers do not depend
        on it.
    cluster : str, optional
        Do the runs on a Ray cluster at this address; see :func:`coppice.studies.cluster.connected`.
    share : str, optional
        A URL that fsspec opens on all machines of the cluster, where they do not share the folder: run folders go
        through it, and end up in ``out`` all the same.

    Returns
    -------
    Path
        The folder, with ``results.csv``, ``study.json`` and ``study.html``. Runs that failed are in there, with the
        reason.

    Raises
    ------
    CoppiceError
        For anything wrong with the study, its recipe, the clips or the disk; before training where possible.
    """
    if jobs is not None and cluster is not None:
        raise CoppiceError("a cluster does as many runs at a time as it has processors; leave out --jobs.")
    if share is not None and cluster is None:
        raise CoppiceError(f"share is {share!r} and there is no cluster; give --cluster, or leave out --share.")
    if jobs is not None and jobs < 1:
        raise CoppiceError(f"jobs is {jobs}; give a whole number from 1 upwards.")
    chosen = study if isinstance(study, Study) else load_study(study, changes=changes)
    if chosen.file.search is not None:
        raise CoppiceError(f"{chosen.what} is a search; carry it out with coppice study search.")
    folder = (Path(out) if out is not None else Path("runs") / chosen.file.name).resolve()
    refuse_foreign(folder, search=False)
    exchange = None if share is None else Exchange(share)
    if exchange is not None:
        exchange.check()
    engine = _Engine(PlannedStudy(chosen, folder), jobs, cluster, exchange)
    engine.check()
    with locked_run(folder):
        engine.do()
        write_study_page(folder)
    return folder


class _Engine:
    """The tasks of one call, how each has ended so far, and the results that are written from that."""

    def __init__(self, planned: PlannedStudy, jobs: int | None, cluster: str | None, exchange: Exchange | None) -> None:
        self.planned, self.folder, self.jobs, self.cluster = planned, planned.folder, jobs, cluster
        self.exchange = exchange
        self.where = "this machine"
        self.outcomes = self._recorded()

    def check(self) -> None:
        """Check the points that have a run to be done, before anything is written."""
        waiting = {run.point.name: run.point for run, task, _ in self.planned.tasks if not self._is_done(task)}
        self.planned.check(list(waiting.values()))

    def do(self) -> None:
        """Do every task that is not done, the unpruned networks first; write the results after each."""
        self.outcomes = self._recorded()  # another process may have been in the folder until now
        write_text(self.folder / "study.yaml", self.planned.study.to_yaml())
        write_json(self.folder / "environment.json", environment(self.planned.study.recipe.training.precision))
        for leftover in self.folder.glob(".partial-*"):  # half-written when a process was killed
            leftover.unlink(missing_ok=True)
        tasks = [task for _, task, _ in self.planned.tasks]
        waiting = [task for task in tasks if not self._is_done(task)]
        needed = {base.key for _, task, base in self.planned.tasks if base is not None and not self._is_done(task)}
        bases = [base for base in self.planned.bases if base.key in needed and not self._is_done(base)]
        self._say_what_stands(tasks, waiting, bases)
        self._write()
        if waiting:
            with self._workers() as workers, progress_bar("study", len(bases) + len(waiting)) as advance:
                clock = _Clock(len(bases) + len(waiting))
                clock.begin(len(bases), " for the unpruned networks")
                for task, outcome in self._done(bases, workers):
                    advance(1, clock.after(task, outcome))
                ready = list(self._with_a_base(waiting))
                advance(len(waiting) - len(ready), "")
                clock.total -= len(waiting) - len(ready)
                clock.begin(len(ready), "")
                for task, outcome in self._done(ready, workers):
                    advance(1, clock.after(task, outcome))
        self._put_together()
        self._write()
        self._say_what_failed([*tasks, *(one.task for one in self.planned.ensembles)])

    def _recorded(self) -> dict[Path, Outcome]:
        tasks = [*(task for _, task, _ in self.planned.tasks), *self.planned.bases]
        tasks += [one.task for one in self.planned.ensembles]
        # By folder: an unpruned network and the point that is nothing else are the same run, with one key.
        return {task.folder: found for task in tasks if (found := read_outcome(task.folder, task.key))}

    def _put_together(self) -> None:
        waiting = [one for one in self.planned.ensembles if not self._is_done(one.task)]
        members = {task.key: found for _, task, _ in self.planned.tasks if (found := self._outcome(task))}
        folders = {one.task.key: one.task.folder for one in waiting}
        for outcome in do_ensembles(waiting, members):
            self.outcomes[folders[outcome.key]] = outcome

    def _is_done(self, task: Task) -> bool:
        found = self._outcome(task)
        return found is not None and found.status == "done" and found.coppice_version == __version__

    def _with_a_base(self, waiting: Iterable[Task]) -> Iterator[Task]:
        """Let through the tasks whose unpruned network is there; the others have failed with it."""
        base_of = {task.key: base for _, task, base in self.planned.tasks}
        for task in waiting:
            base = base_of[task.key]
            found = self._outcome(base)
            if base is None or (found is not None and found.status == "done"):
                yield task
            else:
                reason = "not trained" if found is None else found.reason
                self.outcomes[task.folder] = failed(task, f"{base.name}: {reason}")
                record(task, self.outcomes[task.folder])

    @contextmanager
    def _workers(self) -> Iterator[Workers]:
        if self.cluster is None:
            yield lambda tasks, each: in_processes(tasks, min(len(tasks), jobs_that_fit(self.jobs, each)))
            return
        from coppice.studies.cluster import connected

        with connected(self.cluster, exchange=self.exchange) as cluster:
            self.where = cluster.where
            yield cluster.do

    def _done(self, tasks: list[Task], workers: Workers) -> Iterator[tuple[Task, Outcome]]:
        if tasks:
            for task, outcome in workers(tasks, self._each_bytes()):
                self.outcomes[task.folder] = outcome
                self._write()
                yield task, outcome

    def _each_bytes(self) -> int:
        """Return what a run was seen to need; an estimate while none has been seen."""
        seen = max((outcome.peak_bytes for outcome in self.outcomes.values()), default=0)
        return seen or needed_bytes(self.planned.study.recipe, self.planned.data)

    def _write(self) -> None:
        rows = [
            Row(run, f"runs/{task.key}", self._outcome(task), self._outcome(base))
            for run, task, base in self.planned.tasks
        ]
        rows += [
            Row(one.run, f"ensembles/{one.task.key}", self._outcome(one.task), self._outcome(one.base))
            for one in self.planned.ensembles
        ]
        write_results(self.folder, self.planned.study, rows, folds=self.planned.folds, where=self.where)

    def _outcome(self, task: Task | None) -> Outcome | None:
        return None if task is None else self.outcomes.get(task.folder)

    def _say_what_stands(self, tasks: list[Task], waiting: list[Task], bases: list[Task]) -> None:
        found = [outcome for task in tasks if (outcome := self._outcome(task))]
        other = sorted({one.coppice_version for one in found if one.coppice_version != __version__})
        count = sum(one.coppice_version != __version__ for one in found)
        again = sum(one.status == "failed" and one.coppice_version == __version__ for one in found)
        parts = [f"{plural(len(tasks), 'run')} of {plural(len(self.planned.points), 'point')}"]
        parts += [f"done already: {len(tasks) - len(waiting)}"] if len(waiting) < len(tasks) else []
        parts += [f"failed and tried again: {again}"] if again else []
        parts += [f"unpruned networks to be trained first: {len(bases)}"] if bases else []
        say(f"{self.planned.study.file.name}: {'; '.join(parts)}")
        if count:
            say(f"{plural(count, 'run')} from Coppice {', '.join(other)}: done again, as this is {__version__}")
        known = {task.folder.name for task in tasks}
        strange = sum(path.name not in known for path in self.folder.glob("runs/*") if not path.name.startswith("."))
        if strange:
            say(f"{plural(strange, 'run')} not of this study as it is now: left there, and not in the results")

    def _say_what_failed(self, tasks: list[Task]) -> None:
        lost = [(task, self.outcomes[task.folder]) for task in tasks if not self._is_done(task)]
        for task, outcome in lost[:10]:
            say(f"failed: {task.name}: {outcome.reason}")
        if lost:
            more = f" ({len(lost) - 10} more are in results.csv)" if len(lost) > 10 else ""
            say(f"{len(lost)} of {plural(len(tasks), 'run')} failed{more}; the same command tries again")


class _Clock:
    """What has just ended, and about how long the rest will take: a training is no measure for what comes after it."""

    def __init__(self, total: int) -> None:
        self.total, self.ended = total, 0

    def begin(self, count: int, of: str) -> None:
        """Begin with tasks of one kind."""
        self.last, self.before, self.of, self.begun = self.ended + count, self.ended, of, time.monotonic()

    def after(self, task: Task, outcome: Outcome) -> str:
        """Say how a task ended; return its name, for the bar."""
        self.ended += 1
        how = f"failed: {outcome.reason}"
        if outcome.status == "done":
            how = f"accuracy {percent_text(outcome.scores['accuracy'] or 0.0)}"
        say(f"{self.ended} of {self.total}: {task.name}: {how}{self._left()}")
        return task.name

    def _left(self) -> str:
        each_s = (time.monotonic() - self.begun) / (self.ended - self.before)
        left = self.last - self.ended
        return f"; about {_duration_text(each_s * left)} left{self.of}" if left > 0 else ""


def _duration_text(seconds: float) -> str:
    """Return a rounded duration.

    Examples
    --------
    >>> _duration_text(42), _duration_text(600), _duration_text(8000)
    ('42 s', '10 min', '2 h 13 min')
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def refuse_foreign(folder: Path, *, search: bool) -> None:
    """Refuse a folder that holds something else than a grid or, if asked, a search.

    Raises
    ------
    CoppiceError
        If it does; an empty folder, or none, is fine.
    """
    with plain_os_errors("write to", folder):
        there = folder.exists() and any(not path.name.startswith(".") for path in folder.iterdir())
    said = read_json(folder / "study.json", "study") if there and (folder / "study.json").exists() else {}
    ours = isinstance(said, dict) and said.get("kind") == KIND
    begun = search and (folder / "search.db").exists() | (folder / "search.json").exists()  # nothing has been done yet
    if there and not ours and not begun:
        raise CoppiceError(
            f"{folder} holds something else than a study of this kind; choose another folder with --out."
        )
    if ours and ("search" in said) != search:
        raise CoppiceError(
            f"{folder} holds the results of a {'grid' if search else 'search'}; choose another folder with --out."
        )
