"""Tasks side by side on this machine: joblib's processes, one thread each, and what happens when one is killed."""

import os
from collections.abc import Iterable, Iterator
from typing import Any

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError

from coppice.core.progress import say
from coppice.studies.tasks import Outcome, Task, do_task, failed, record

LOST = "its process was killed twice, the second time with nothing beside it; short of memory, perhaps"


def in_processes(tasks: Iterable[Task], jobs: int) -> Iterator[tuple[Task, Outcome]]:
    """Carry out tasks in processes of their own; give each with its outcome as it ends.

    When a process is killed, joblib gives up all that were at work, and nobody knows which one it was for. Those are
    done again, after all others and one at a time; what is killed again then has failed.

    Parameters
    ----------
    tasks : iterable of Task
        Each stands alone.
    jobs : int >= 1
        How many at a time. A single one has a process of its own, too: what it dies of must not end the study.
    """
    waiting = {task.name: task for task in tasks}
    suspects: dict[str, Task] = {}
    while waiting:
        handed: dict[str, Task] = {}
        try:
            for name, outcome in _parallel(waiting.values(), handed, jobs):
                yield waiting.pop(name), outcome
        except TerminatedWorkerError:
            lost = {name: waiting.pop(name) for name in handed if name in waiting}
            say(f"a process was killed; done again at the end, one at a time: {'; '.join(lost)}")
            suspects |= lost
    for name, task in suspects.items():
        try:
            for _, outcome in _parallel([task], {}, 1):
                yield task, outcome
        except TerminatedWorkerError:
            outcome = failed(task, LOST)
            record(task, outcome)
            say(f"{name}: {LOST}")
            yield task, outcome


def _parallel(tasks: Iterable[Task], handed: dict[str, Task], jobs: int) -> Iterator[tuple[str, Outcome]]:
    def calls() -> Iterator[Any]:
        for task in list(tasks):
            handed[task.name] = task
            yield delayed(_named)(task, os.getpid(), jobs)

    # joblib does a single job in this process; two, of which one waits, are what keeps it in another.
    with parallel_config("loky", n_jobs=max(2, jobs), inner_max_num_threads=1):
        yield from Parallel(return_as="generator_unordered", pre_dispatch=jobs, batch_size=1)(calls())


def _named(task: Task, parent: int, jobs: int) -> tuple[str, Outcome]:
    return task.name, do_task(task, parent, jobs=jobs)
