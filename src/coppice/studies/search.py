"""The verb ``search``: points that Optuna chooses, one after the other, on one machine or on many."""

import importlib.util
import math
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coppice import __version__
from coppice.core.errors import CoppiceError
from coppice.core.files import digest, make_folder, read_json, write_json, write_text
from coppice.core.progress import progress_bar, say
from coppice.recipes.environment import environment
from coppice.recipes.stages import locked_run
from coppice.reports.study_page import write_study_page
from coppice.studies.engine import refuse_foreign
from coppice.studies.grid import points
from coppice.studies.grid_points import GridPoints, grid_points
from coppice.studies.planned import Planner
from coppice.studies.results import Row, write_results
from coppice.studies.search_log import say_trial, say_what_has_come, say_what_stands
from coppice.studies.search_section import COSTS, budget_text
from coppice.studies.search_space import SearchSpace
from coppice.studies.study_file import Study, load_study
from coppice.studies.trial_runs import TrialRuns, outcome_of

if TYPE_CHECKING:
    import optuna

    from coppice.studies.trials import Step, Trial

_FILE = "search.json"


class TrialEndedError(Exception):
    """A trial has no values: its runs failed, or it was not needed."""


def search_study(
    study: str | Path | Study,
    *,
    trials: int | None = None,
    storage: str | None = None,
    source: str | Path | None = None,
    out: str | Path | None = None,
    changes: Sequence[str] = (),
    jobs: int | None = None,
) -> Path:
    """Search for networks that score well and cost little: ratios per layer, criterion and precision.

    Each trial is one point, with every fold and seed of the study. Points are judged by validation clips alone, and a
    point beyond the budget is never trained. The same call goes on after an interruption, with the same numbers.

    Parameters
    ----------
    study : str, Path or Study
        A study file with a section ``search``, the name of a shipped one, or such a study.
    trials : int, optional
        How many there are to be in the end, those of earlier calls and other machines included; as in the file if not
        given.
    storage : str, optional
        Address of a database in which several machines meet, each with a folder of its own, such as
        ``sqlite:////shared/search.db``; ``search.db`` in the folder if not given.
    source : path, optional
        The folder of a grid of the same recipe and system, whose finished points the search starts from.
    out : path, optional
        The folder; ``runs/<name>`` if not given.
    changes : sequence of str
        ``"key=value"`` for the base recipe, when ``study`` is not a Study.
    jobs : int, optional
        Runs side by side, one thread each; as many as cores and memory carry if not given.

    Returns
    -------
    Path
        The folder, with ``results.csv``, ``trials.csv``, ``study.json`` and ``study.html``.

    Raises
    ------
    CoppiceError
        For anything wrong with the study, the storage or the grid; before training where possible.

    Examples
    --------
    >>> search_study("criteria-shootout")
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: study criteria-shootout.yaml has no section 'search:', so it is a grid: ...
    """
    for name, value in (("trials", trials), ("jobs", jobs)):
        if value is not None and value < 1:
            raise CoppiceError(f"{name} is {value}; give a whole number from 1 upwards.")
    chosen = study if isinstance(study, Study) else load_study(study, changes=changes)
    wanted = trials or chosen.search.trials
    if importlib.util.find_spec("optuna") is None:
        raise CoppiceError("a search needs Optuna, which is not installed; pip install 'coppice[search]'.")
    folder = (Path(out) if out is not None else Path("runs") / chosen.file.name).resolve()
    refuse_foreign(folder, search=True)
    planner = Planner(chosen, folder)
    space = SearchSpace(chosen, planner.data)
    _check(planner, space)
    grid = None if source is None else grid_points(Path(source).resolve(), planner, space)
    with _own(folder):
        from coppice.studies.search_storage import quiet_optuna

        with quiet_optuna():
            _Search(planner, space, storage, jobs).do(wanted, grid, source)
        if (folder / "study.json").exists():
            write_study_page(folder)
    return folder


def _check(planner: Planner, space: SearchSpace) -> None:
    """Check that trials can be judged, the budget can be met, and every criterion on an untrained network."""
    if not planner.study.recipe.split.validation_fraction:
        raise CoppiceError(
            f"{planner.study.what}: split.validation_fraction is 0, and a search judges by validation clips; give 0.2, "
            "or run the study without a search."
        )
    smallest = space.smallest()
    if not any(space.fits(choice) for choice in smallest):
        least = {name: min(space.costs(choice)[name] for choice in smallest) for name in space.search.budget}
        said = " and ".join(f"{count:,} {COSTS[name]}" for name, count in least.items())
        raise CoppiceError(
            f"{planner.study.what}: the budget is {budget_text(space.search)}, and with the largest ratios the network "
            f"still takes {said}; raise the budget or the ratios."
        )
    criteria = space.options.get("criterion", [""])
    planner.check([space.point({**smallest[0], **({"criterion": one} if one else {})}) for one in criteria])


@contextmanager
def _own(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder; say how they can join."""
    lock = locked_run(folder)
    try:
        lock.__enter__()
    except CoppiceError as error:
        raise CoppiceError(
            f"{error} To search together, give each process a folder of its own with --out and the same --storage, "
            f"such as sqlite:///{folder / 'search.db'}."
        ) from error
    try:
        yield
    finally:
        lock.__exit__(None, None, None)


class _Search:
    """One process's part in a search: its trials, their runs, and what is written of them."""

    def __init__(self, planner: Planner, space: SearchSpace, storage: str | None, jobs: int | None) -> None:
        from coppice.studies.sampler import BudgetSampler, distributions
        from coppice.studies.search_storage import default_url, open_search, shown_url
        from coppice.studies.trials import draw_number, taken_choices

        self.planner, self.space, self.runs = planner, space, TrialRuns(planner, space, jobs)
        self.study, self.folder, self.search = planner.study, planner.folder, space.search
        url = storage or default_url(self.folder)
        self.shown = shown_url(url)
        self.worker = self._worker()
        self.kept, begun = open_search(
            url,
            self.study.file.name,
            identity=_identity(planner, space),
            directions=["maximize" if one == "accuracy" else "minimize" for one in self.search.objectives],
            worker=self.worker,
            params=distributions(space),
        )
        write_json(self.folder / _FILE, {"storage": self.shown, "worker": self.worker})
        self.sampler = BudgetSampler(
            space,
            taken=taken_choices,
            draw=lambda study, trial: draw_number(study, space, trial),
            salt=0 if begun else int(self.worker, 16),
        )
        self.kept.sampler = self.sampler
        whole = space.whole_costs()[self.search.cost]
        useless = 1 / len(planner.data.dataset.labels)  # of guessing
        score = useless if self.search.higher else -math.log(useless)
        self.reference = (float(min(whole, self.search.budget.get(self.search.cost, whole))), score)

    def do(self, wanted: int, grid: GridPoints | None, source: str | Path | None) -> None:
        """Carry out trials until there are as many as wanted."""
        from coppice.studies.sampler import NothingNewError
        from coppice.studies.search_storage import plain_storage_errors

        write_text(self.folder / "study.yaml", self.study.to_yaml())
        write_json(self.folder / "environment.json", environment(self.study.recipe.training.precision))
        for leftover in self.folder.glob(".partial-*"):  # half-written when a process was killed
            leftover.unlink(missing_ok=True)
        with plain_storage_errors(self.shown):
            again = self._take_up()
            given = self._give(grid)
            say_what_stands(self.study.file.name, self.search, self._own_trials(), wanted, again=again)
            if grid is not None:
                say(f"{grid.sentence}{'' if given == len(grid.taken) else f'; new: {given}'}")
            self._write(wanted)
            self.runs.do_bases(None if source is None else Path(source).resolve())
            with progress_bar("search", wanted, done=min(wanted, len(self._own_trials()))) as advance:
                while self._is_needed(wanted):
                    try:
                        self._next(wanted)
                    except NothingNewError as error:
                        say(f"the search ends: {error}")
                        break
                    advance(1, "")
        say_what_has_come(self.space, self._own_trials(), refused=self.sampler.refused)

    # What the storage holds.

    def _worker(self) -> str:
        """Return the name of this folder in the storage, and refuse a folder that is of another storage."""
        make_folder(self.folder)
        if not (self.folder / _FILE).exists():
            return uuid.uuid4().hex
        said = read_json(self.folder / _FILE, "search")
        if not isinstance(said, dict) or {"storage", "worker"} - said.keys():
            raise CoppiceError(f"{self.folder / _FILE} is damaged; choose another folder with --out.")
        if said["storage"] != self.shown:
            raise CoppiceError(
                f"{self.folder} is part of the search in {said['storage']}; give that with --storage, or another "
                "folder with --out."
            )
        return str(said["worker"])

    def _trials(self) -> "list[Trial]":
        from coppice.studies.trials import found_trials

        return found_trials(self.kept, self.space)

    def _own_trials(self) -> "list[Trial]":
        """Return the trials of the search itself, of all machines."""
        return [trial for trial in self._trials() if not trial.grid]

    def _is_needed(self, wanted: int) -> bool:
        import optuna

        optuna.storages.fail_stale_trials(self.kept)  # of machines that are lost, also where enough trials are begun
        own = self._own_trials()
        return len(own) < wanted or any(trial.status == "waiting" for trial in own)

    def _take_up(self) -> int:
        """Let what this folder left running or failed be tried again; return how many trials that is."""
        from coppice.studies.sampler import distributions
        from coppice.studies.search_storage import enqueue_again
        from coppice.studies.trials import abandoned

        running, failed = abandoned(self.kept, self.worker)
        for trial in running:
            self.kept.tell(trial.number, state=_state("FAIL"), skip_if_finished=True)
        before = len(self.kept.get_trials(deepcopy=False))
        for trial in [*running, *failed]:
            enqueue_again(self.kept, trial, frozenset(distributions(self.space)))
        return len(self.kept.get_trials(deepcopy=False)) - before

    def _give(self, grid: GridPoints | None) -> int:
        """Give the points of a grid to the storage as trials that are done, each once; return how many are new."""
        import optuna

        from coppice.studies.sampler import choice_key, distributions
        from coppice.studies.trials import GRID

        known = {choice_key(trial.choice) for trial in self._trials()}
        new = [point for point in (grid.taken if grid else ()) if choice_key(point.choice) not in known]
        for point in new:
            values = {self.search.score: point.score, self.search.cost: point.cost}
            self.kept.add_trial(
                optuna.trial.create_trial(
                    params=dict(point.choice),
                    distributions=distributions(self.space),
                    values=[values[name] for name in self.search.objectives],
                    user_attrs={GRID: grid.name if grid else ""},
                )
            )
        return len(new)

    # One trial.

    def _next(self, wanted: int) -> None:
        before = {trial.number for trial in self._trials() if trial.status in ("done", "failed")}
        try:
            self.kept.optimize(lambda trial: self._objective(trial, wanted), n_trials=1, catch=(TrialEndedError,))
        except ValueError as error:
            if "Cannot tell" not in str(error):
                raise
            say("this machine was silent for so long that its trial was given to another")
        self._write(wanted)
        trials = self._trials()
        steps = self._steps(trials)
        ended = [trial for trial in trials if trial.worker == self.worker and trial.number not in before]
        for trial in ended:
            if trial.status in ("done", "failed"):
                place = sum(not one.grid for one in trials)
                say_trial(self.space, trial, f"trial {place} of {wanted}", steps)

    def _objective(self, trial: "optuna.Trial", wanted: int) -> tuple[float, ...]:
        from coppice.studies.trials import DROPPED, REASON, WORKER, suggested

        trial.set_user_attr(WORKER, self.worker)
        choice = suggested(trial, self.space)
        others = [one for one in self._own_trials() if one.number != trial.number]
        if sum(one.number < trial.number for one in others) >= wanted and "again" not in trial.user_attrs:
            trial.set_user_attr(DROPPED, "enough")
            raise TrialEndedError
        if any(one.choice == choice for one in others if one.status != "failed"):  # another machine drew it just now
            trial.set_user_attr(DROPPED, "twice")
            raise TrialEndedError
        try:
            scores = self.runs.scores(choice)
        except CoppiceError as error:
            trial.set_user_attr(REASON, str(error))
            raise TrialEndedError from error
        return tuple(scores[name] for name in self.search.objectives)

    # What is written.

    def _steps(self, trials: "list[Trial]") -> "list[Step]":
        from coppice.studies.trials import growth

        return growth(trials, higher=self.search.higher, reference=self.reference)

    def _write(self, wanted: int) -> None:
        from coppice.studies.trials import write_trials

        trials = self._trials()
        write_trials(self.folder, self.space, trials, self._steps(trials), self.worker)
        rows = [
            Row(run, f"runs/{task.key}", outcome_of(task), None if base is None else outcome_of(base))
            for trial in sorted(trials, key=lambda trial: trial.number)
            if trial.worker == self.worker and trial.choice
            for run, task, base in self.planner.tasks_of([self.space.point(trial.choice)])
        ]
        if not rows:
            return
        values = {axis: list(dict.fromkeys(row.run.point.labels[axis] for row in rows)) for axis in self.space.axes}
        axes = {axis: sorted(found, key=_by_number) for axis, found in values.items()}
        search = {
            "objectives": self.search.objectives,
            "budget": self.search.budget,
            "reference": {self.search.cost: self.reference[0], self.search.score: self.reference[1]},
            "trials": wanted,
            "storage": self.shown,
        }
        write_results(
            self.folder, self.study, rows, folds=self.planner.folds, where="this machine", axes=axes, search=search
        )


def _identity(planner: Planner, space: SearchSpace) -> dict[str, str]:
    """Return what all machines of a search must agree on."""
    study = planner.study
    (point,) = points(study)
    return {
        "recipe and clips": planner.identity(point.recipe),
        "search space and objectives": digest(space.search.model_dump(mode="json", exclude={"trials"})),
        "folds": digest(planner.folds),
        "seeds": digest(study.seeds),
        "version of Coppice": __version__,
    }


def _by_number(text: str) -> tuple[bool, float, str]:
    try:
        return False, float(text), text
    except ValueError:
        return True, 0.0, text


def _state(name: str) -> Any:
    from optuna.trial import TrialState

    return TrialState[name]
