"""What a search says in the terminal: where it stands, each trial, and what has come of it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from coppice.core.progress import say
from coppice.core.units import count_text, percent_text
from coppice.reports.wording import plural
from coppice.studies.search_section import COSTS, SCORES, Search, budget_text
from coppice.studies.search_space import SearchSpace

if TYPE_CHECKING:
    from coppice.studies.trials import Step, Trial


def say_what_stands(name: str, search: Search, own: "Sequence[Trial]", wanted: int, *, again: int) -> None:
    """Say what there is before the first trial of a call.

    Parameters
    ----------
    name : str
        Of the search.
    search : Search
        What is searched for.
    own : sequence of Trial
        Those of the search itself, of all machines.
    wanted : int
        How many there are to be.
    again : int
        How many were interrupted or failed, and are tried again.
    """
    done, running = (sum(trial.status == status for trial in own) for status in ("done", "running"))
    parts = [f"{plural(wanted, 'trial')} in all"]
    parts += [f"done already: {done}"] if done else []
    parts += [f"interrupted or failed, and tried again: {again}"] if again else []
    parts += [f"under way elsewhere: {running}"] if running else []
    parts += [budget_text(search)] if search.budget else []
    say(f"{name}: {'; '.join(parts)}")


def say_trial(space: SearchSpace, trial: "Trial", head: str, steps: "Sequence[Step]") -> None:
    """Say how a trial ended, and what it did to the front.

    Parameters
    ----------
    space : SearchSpace
        Names the point.
    trial : Trial
        One that is done, or has failed.
    head : str
        Such as ``"trial 3 of 60"``.
    steps : sequence of Step
        The trials that are done, with the front after each.
    """
    point = " ".join(f"{axis}={short}" for axis, short in space.labels(trial.choice).items())
    if trial.status == "failed" or trial.score is None or trial.cost is None:
        say(f"{head}: {point}: failed: {trial.reason}")
        return
    search = space.search
    step = next(step for step in steps if step.trial.number == trial.number)
    joined = "on the front" if step.joined else "not on the front"
    score = percent_text(trial.score) if search.higher else f"{trial.score:.3f}"
    say(
        f"{head}: {point}: validation {SCORES[search.score]} {score}, {count_text(trial.cost)} {COSTS[search.cost]}; "
        f"{joined} ({step.front}), hypervolume {step.hypervolume:.4f}"
    )


def say_what_has_come(space: SearchSpace, own: "Sequence[Trial]", *, refused: int) -> None:
    """Say what failed, what is under way elsewhere, and what was never trained.

    Parameters
    ----------
    space : SearchSpace
        Names the points.
    own : sequence of Trial
        Those of the search itself, of all machines.
    refused : int
        Proposals beyond the budget, or tried before.
    """
    failed = [trial for trial in own if trial.status == "failed"]
    for trial in failed[:10]:
        say(f"failed: {' '.join(space.labels(trial.choice).values())}: {trial.reason}")
    if failed:
        say(f"{len(failed)} of {plural(len(own), 'trial')} failed; the same command tries again")
    running = sum(trial.status == "running" for trial in own)
    if running:
        say(f"{plural(running, 'trial')} still under way elsewhere")
    if refused:
        say(f"{plural(refused, 'proposal')} beyond the budget, or tried before, never trained")
