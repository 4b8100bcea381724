"""One run of a study, as a task that any process on any machine can carry out, and what it leaves."""

import os
import platform
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil
import torch

from coppice import __version__
from coppice.core.errors import CoppiceError
from coppice.core.files import make_folder, read_json, write_json
from coppice.core.progress import console
from coppice.recipes.material import open_material
from coppice.recipes.recipe import Recipe
from coppice.recipes.run import SingleRun
from coppice.recipes.stages import locked_run, share_stages
from coppice.studies.rankings import ranking_facts, ranking_scores
from coppice.studies.scores import base_scores, point_scores

OUTCOME = "outcome.json"
_WAIT_S = 60.0  # for a process that was given the same run, is lost to the study, and has not noticed yet
_WATCH, _LOOK_S = "end with the parent", 1.0


@dataclass(frozen=True)
class Task:
    """What to do, where, and from which trained network.

    Attributes
    ----------
    name : str
        For messages.
    folder : Path
        The run folder, absolute.
    recipe : Recipe
        Single.
    key : str
        Digest of what the results depend on; an outcome of another key is not this task's.
    base : Path or None
        The run folder whose data and training are reused; None for one that trains.
    is_base : bool
        Whether others go on from its training, so that this is what is scored.
    version : str
        Of Coppice, where the study is run; a worker of another version refuses.
    """

    name: str
    folder: Path
    recipe: Recipe
    key: str
    base: Path | None = None
    is_base: bool = False
    version: str = __version__


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes
    ----------
    key : str
        Of the task.
    status : {"done", "failed"}
    reason : str
        One line; empty when done.
    coppice_version : str
        What did it.
    scores : dict
        Columns of the results.
    peak_bytes : int
        The largest resident memory of the process so far.
    rankings : list of dict
        What :func:`coppice.studies.rankings.ranking_facts` found.
    members : list of str
        Of an ensemble.
    """

    key: str
    status: Literal["done", "failed"]
    reason: str
    coppice_version: str
    scores: dict[str, float | int | None]
    peak_bytes: int = 0
    rankings: list[dict[str, Any]] = field(default_factory=list)
    members: list[str] = field(default_factory=list)


def do_task(task: Task, parent: int | None = None, *, jobs: int = 1) -> Outcome:
    """Carry out a run, record how it ended in its folder, and return that.

    Whatever goes wrong with the run is its outcome, in one line. One thread is used, so that the numbers do not depend
    on how many runs go on side by side.

    Parameters
    ----------
    task : Task
        See there.
    parent : int, optional
        The process that asked. When it is gone, nobody counts this run, and this process ends.
    jobs : int >= 1
        How many runs go side by side on this machine, so that their energy is not counted twice.
    """
    _end_with(parent)
    torch.set_num_threads(1)
    quiet, console.quiet = console.quiet, True  # bars of several processes would write over each other
    try:
        try:
            scores = _run(task, jobs)
            layers = [] if task.is_base else ranking_facts(task.recipe, task.folder)
            scores |= ranking_scores(layers)
            outcome = Outcome(task.key, "done", "", __version__, scores, _peak_bytes(), layers)
        except Exception as error:
            outcome = failed(task, _line(error))
        record(task, outcome)
        return outcome
    finally:
        console.quiet = quiet


def failed(task: Task, reason: str) -> Outcome:
    """Return the outcome of a task that failed."""
    return Outcome(task.key, "failed", " ".join(reason.split()), __version__, {}, _peak_bytes())


def record(task: Task, outcome: Outcome) -> None:
    """Write an outcome into the folder of its run."""
    make_folder(task.folder)
    write_json(task.folder / OUTCOME, vars(outcome))


def read_outcome(folder: Path, key: str) -> Outcome | None:
    """Return how a run ended; None when it has not, or the record is damaged or of another task."""
    try:
        found = Outcome(**read_json(folder / OUTCOME))
    except (CoppiceError, TypeError):
        return None
    return found if found.key == key and found.status in ("done", "failed") else None


def _run(task: Task, jobs: int) -> dict[str, float | int | None]:
    if task.version != __version__:
        raise CoppiceError(f"{platform.node()} has Coppice {__version__} and the study is run by {task.version}.")
    if not task.folder.parents[1].is_dir():
        study = task.folder.parents[1]
        raise CoppiceError(f"{platform.node()} does not see {study}; all machines of a cluster must share that folder.")
    with locked_run(task.folder, wait_s=_WAIT_S):
        if task.base is not None:
            share_stages(task.base, task.folder)
        SingleRun(task.recipe, open_material(task.recipe), task.folder, timed=False, jobs=jobs).do()
    return base_scores(task.folder) if task.is_base else point_scores(task.folder)


def _line(error: Exception) -> str:
    said = " ".join(str(error).split())
    if isinstance(error, CoppiceError):
        return said
    return f"{type(error).__name__}: {said[:300]}" if said else type(error).__name__


def _peak_bytes() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return int(psutil.Process().memory_info().rss)
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes if platform.system() == "Darwin" else 1024 * kilobytes


def _end_with(parent: int | None) -> None:
    """End this process when the one that started it is gone: killed, it cannot say so, and the next would wait."""
    if parent is None or os.getppid() != parent or any(thread.name == _WATCH for thread in threading.enumerate()):
        return

    def watch() -> None:
        while os.getppid() == parent and psutil.pid_exists(parent):
            time.sleep(_LOOK_S)
        os._exit(1)

    threading.Thread(target=watch, name=_WATCH, daemon=True).start()
