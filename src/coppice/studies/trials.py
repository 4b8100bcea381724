"""The trials of a search, as its storage has them, and how the Pareto front grew with them."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from optuna.trial import Trial as OptunaTrial

from coppice.core.files import whole_file
from coppice.reports.hypervolume import hypervolume
from coppice.reports.pareto_front import pareto_front
from coppice.studies.sampler import choice_key, distributions
from coppice.studies.search_space import REMOVED, Choice, SearchSpace

# What Optuna keeps of a trial for us.
WORKER, AGAIN, GRID, REASON, DROPPED = "worker", "again", "grid", "reason", "dropped"

STATUSES = {TrialState.COMPLETE: "done", TrialState.FAIL: "failed", TrialState.RUNNING: "running"}


@dataclass(frozen=True)
class Trial:
    """A point that was, is or will be tried.

    Attributes
    ----------
    number : int
        Optuna's.
    status : {"done", "failed", "running", "waiting"}
    choice : dict
        The point; empty while a trial waits.
    score, cost : float or None
        Of a trial that is done.
    reason : str
        Why it failed.
    worker : str
        Who carries it out; empty for a point of a grid.
    grid : str
        The name of the grid that it comes from; empty for one of the search itself.
    """

    number: int
    status: str
    choice: Choice
    score: float | None
    cost: float | None
    reason: str
    worker: str
    grid: str


@dataclass(frozen=True)
class Step:
    """A trial that is done, with the front right after it."""

    trial: Trial
    joined: bool
    front: int
    hypervolume: float


def found_trials(study: Study, space: SearchSpace) -> list[Trial]:
    """Return the trials that count: done ones in the order in which they ended, then the others by number.

    A trial that was repeated, dropped or never given a point does not count, nor does a point of a grid that was given
    twice.
    """
    names, objectives = set(distributions(space)), space.search.objectives
    frozen = study.get_trials(deepcopy=False)
    repeated = {trial.user_attrs[AGAIN] for trial in frozen if AGAIN in trial.user_attrs}
    made: list[tuple[Any, Trial]] = []
    seen: set[str] = set()
    for trial in frozen:
        waiting = trial.state == TrialState.WAITING
        whole = waiting or names <= trial.params.keys()
        if not whole or trial.number in repeated or DROPPED in trial.user_attrs:
            continue
        grid = str(trial.user_attrs.get(GRID, ""))
        if grid:
            if choice_key(trial.params) in seen:
                continue
            seen.add(choice_key(trial.params))
        done = trial.state == TrialState.COMPLETE
        values = dict(zip(objectives, trial.values, strict=True)) if done else {}
        found = Trial(
            number=trial.number,
            status=STATUSES.get(trial.state, "waiting"),
            choice=dict(trial.params),
            score=values.get(space.search.score),
            cost=values.get(space.search.cost),
            reason=str(trial.user_attrs.get(REASON, "interrupted" if trial.state == TrialState.FAIL else "")),
            worker=str(trial.user_attrs.get(WORKER, "")),
            grid=grid,
        )
        ended = trial.datetime_complete.timestamp() if done and trial.datetime_complete else 0.0
        made.append(((not done, not grid, ended, trial.number), found))
    return [trial for _, trial in sorted(made, key=lambda one: one[0])]


def suggested(trial: OptunaTrial, space: SearchSpace) -> dict[str, Any]:
    """Return the point that a trial is to try, as the sampler, or the trial that it repeats, has it."""
    choice: dict[str, Any] = {name: trial.suggest_categorical(name, values) for name, values in space.options.items()}
    removed = {layer.name: trial.suggest_int(REMOVED + layer.name, layer.least, layer.most) for layer in space.layers}
    return choice | {REMOVED + name: count for name, count in removed.items()}


def taken_choices(study: Study) -> list[Choice]:
    """Return the points that need not be drawn any more: tried, failed, under way, or waiting to be tried again."""
    frozen = study.get_trials(deepcopy=False)
    return [trial.system_attrs.get("fixed_params", trial.params) for trial in frozen if DROPPED not in trial.user_attrs]


def draw_number(study: Study, space: SearchSpace, trial: FrozenTrial) -> int:
    """Return how many points were drawn before a trial: what its draw is seeded by.

    Points of a grid, repeated trials, and what was killed before it had a point were not drawn.
    """
    names = set(distributions(space))
    earlier = [one for one in study.get_trials(deepcopy=False) if one.number < trial.number]
    return sum(names <= one.params.keys() and not {GRID, AGAIN} & one.user_attrs.keys() for one in earlier)


def growth(trials: Sequence[Trial], *, higher: bool, reference: tuple[float, float]) -> list[Step]:
    """Return every trial that is done with the front right after it.

    Parameters
    ----------
    trials : sequence of Trial
        In the order in which they ended.
    higher : bool
        Whether a higher score is better.
    reference : (float, float)
        A cost and a score that count as useless. The hypervolume is the share of the rectangle between them and a
        network that costs nothing and makes no mistake.
    """
    done = [trial for trial in trials if trial.status == "done"]
    costs = np.array([trial.cost for trial in done], dtype=np.float64)
    scores = np.array([trial.score for trial in done], dtype=np.float64)
    whole = reference[0] * abs((1.0 if higher else 0.0) - reference[1])
    steps = []
    for count, trial in enumerate(done, start=1):
        front = pareto_front(costs[:count], scores[:count], higher=higher)
        area = hypervolume(costs[:count], scores[:count], higher=higher, reference=reference)
        steps.append(Step(trial, bool(front[-1]), int(front.sum()), area / whole))
    return steps


def on_front(trials: Sequence[Trial], *, higher: bool) -> set[int]:
    """Return the numbers of the trials on the front."""
    done = [trial for trial in trials if trial.status == "done"]
    costs = np.array([trial.cost for trial in done], dtype=np.float64)
    scores = np.array([trial.score for trial in done], dtype=np.float64)
    front = pareto_front(costs, scores, higher=higher)
    return {trial.number for trial, on in zip(done, front, strict=True) if on}


def trial_columns(space: SearchSpace) -> dict[str, str]:
    """Return the columns of ``trials.csv`` and what each means."""
    search = space.search
    return {
        "trial": "in the order in which they ended; 0 for points of a grid; empty while it has not",
        "status": "done, failed, running or waiting",
        "reason": "why it failed, in one line",
        "grid": "name of the grid that the point comes from; empty for one of the search itself",
        "here": "1 if its runs are in this folder",
        "point": "as in results.csv",
        **{f"axis.{axis}": f"value of {axis}" for axis in space.axes},
        f"validation_{search.score}": "mean over folds and seeds, of the validation clips",
        search.cost: "mean over folds and seeds",
        "joined": "1 if it was on the front when it ended",
        "front": "points on the front right after it",
        "hypervolume": "right after it; share of the rectangle that study.json gives the reference point of",
        "on_front": "1 if it is on the front now",
    }


def write_trials(folder: Path, space: SearchSpace, trials: Sequence[Trial], steps: Sequence[Step], worker: str) -> None:
    """Write ``trials.csv`` whole: every trial of the search, of whichever machine."""
    search = space.search
    front = on_front(trials, higher=search.higher)
    start = sum(
        bool(step.trial.grid) for step in steps
    )  # points of a grid come first, and are no trials of this search
    grown = {step.trial.number: (max(0, place - start), step) for place, step in enumerate(steps, start=1)}

    def cells(trial: Trial) -> Mapping[str, Any]:
        labels = space.labels(trial.choice) if trial.choice else {}
        said: dict[str, Any] = {
            "status": trial.status,
            "reason": trial.reason,
            "grid": trial.grid,
            "here": int(trial.worker == worker),
            "point": " ".join(f"{axis}={short}" for axis, short in labels.items()),
            **{f"axis.{axis}": short for axis, short in labels.items()},
        }
        if trial.number in grown:
            place, step = grown[trial.number]
            said |= {
                "trial": place,
                f"validation_{search.score}": trial.score,
                search.cost: f"{trial.cost:.17g}",
                "joined": int(step.joined),
                "front": step.front,
                "hypervolume": round(step.hypervolume, 9),
                "on_front": int(trial.number in front),
            }
        return said

    with whole_file(folder / "trials.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(trial_columns(space)), restval="")
        writer.writeheader()
        writer.writerows(cells(trial) for trial in trials)


def abandoned(study: Study, worker: str) -> tuple[list[FrozenTrial], list[FrozenTrial]]:
    """Return the trials of a worker that are running, and those that failed, as far as none repeats them."""
    frozen = study.get_trials(deepcopy=False)
    repeated = {trial.user_attrs[AGAIN] for trial in frozen if AGAIN in trial.user_attrs}
    own = [trial for trial in frozen if trial.user_attrs.get(WORKER) == worker and trial.number not in repeated]
    running, failed = ([one for one in own if one.state == state] for state in (TrialState.RUNNING, TrialState.FAIL))
    return running, failed
