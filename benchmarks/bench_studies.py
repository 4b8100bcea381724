"""Studies: two workers beside one, Ray beside joblib, and what a task costs beyond its own work.

``python benchmarks/bench_studies.py`` prints; ``--page docs`` writes into ``docs/benchmarks.md``. About seven minutes
on two cores; needs the extra ``cluster`` for Ray.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

import yaml

from coppice.core import progress
from coppice.core.files import make_folder
from coppice.studies.cluster import connected
from coppice.studies.planned import PlannedStudy
from coppice.studies.processes import in_processes
from coppice.studies.study_file import load_study
from coppice.studies.tasks import Outcome, Task, do_task
from page import machine, table, write_section

Workers = Callable[[list[Task]], Iterator[tuple[Task, Outcome]]]
TASKS, WARM, EMPTY, ROUNDS = 4, 8, 200, 3
GIB = 2**30


def planned(folder: Path, epochs: int, seeds: int) -> list[Task]:
    """Return trainings of so many epochs, one for each seed."""
    fit = {"epochs": epochs, "patience": epochs, "precision": "float32"}
    study = {
        "name": "bench",
        "recipe": {
            "data": {"source": "synthetic", "synthetic": {"clips_per_class": 20, "duration_s": 2.0}},
            "front_end": {"preset": "dcase2021", "duration_s": 2.0},
            "training": fit,
            "quantize": None,
        },
        "system": [{"prune": {"criterion": "l1", "ratios": 0.5}}],
        "axes": {"seed": list(range(seeds))},
    }
    file = make_folder(folder) / "bench.yaml"
    file.write_text(yaml.safe_dump(study), encoding="utf-8")
    return PlannedStudy(load_study(file), folder).bases


def timed(workers: Workers, tasks: list[Task], *, status: str = "done") -> float:
    """Return the seconds from handing the tasks over to the last outcome; the folders are emptied before."""
    for task in tasks:
        shutil.rmtree(task.folder, ignore_errors=True)
    begin = time.perf_counter()
    outcomes = [outcome for _, outcome in workers(tasks)]
    seconds = time.perf_counter() - begin
    if len(outcomes) != len(tasks) or any(outcome.status != status for outcome in outcomes):
        raise SystemExit(f"not all tasks are {status}: {outcomes}")
    return seconds


def empty(tasks: list[Task]) -> list[Task]:
    """Return tasks that are refused at once, and recorded: all that is left is the handing over."""
    return [
        replace(tasks[0], name=f"empty {n}", folder=tasks[0].folder.with_name(f"empty{n}"), version="none")
        for n in range(EMPTY)
    ]


def main() -> None:
    """Measure; print, and write the page where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, help="folder of benchmarks.md, to be written")
    parser.add_argument("--seconds", type=float, default=14.0, help="that a task should take")
    given = parser.parse_args()
    progress.console.quiet = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (trial,) = planned(folder, 3, 1)
        do_task(trial)
        epoch_s = do_task(replace(trial, folder=folder / "base" / "second")).scores["seconds"] / 3
        tasks = planned(folder, max(1, round(given.seconds / epoch_s)), TASKS)
        warm = [replace(trial, name=f"warm {n}", folder=folder / "base" / f"warm{n}") for n in range(WARM)]

        def one(tasks: list[Task]) -> Iterator[tuple[Task, Outcome]]:
            return in_processes(tasks, 1)

        def two(tasks: list[Task]) -> Iterator[tuple[Task, Outcome]]:
            return in_processes(tasks, 2)

        found = {"start": timed(two, warm)}
        found["empty"] = timed(two, empty(tasks), status="failed") / EMPTY
        rounds = []
        for _ in range(ROUNDS):
            taken = {"two": timed(two, tasks), "one": timed(one, tasks)}
            # Ray's own processes take a share of the cores for as long as they run, so they start for its turn alone.
            begin = time.perf_counter()
            with connected("auto") as cluster:

                def ray(tasks: list[Task]) -> Iterator[tuple[Task, Outcome]]:
                    return cluster.do(tasks, GIB)

                taken["ray start"] = time.perf_counter() - begin + timed(ray, warm)
                taken["ray empty"] = timed(ray, empty(tasks), status="failed") / EMPTY
                taken["ray"] = timed(ray, tasks)
            rounds.append(taken)
        found |= {name: median(each[name] for each in rounds) for name in rounds[0]}
        begin = time.perf_counter()
        shutil.rmtree(tasks[0].folder)
        stages_s = do_task(tasks[0]).scores["seconds"]
        found["around"] = time.perf_counter() - begin - stages_s
    text = section(found)
    print(text)
    if given.page:
        write_section(given.page, "studies", text)


def section(found: dict[str, float]) -> str:
    """Write the part of the page."""
    each = found["one"] / TASKS

    def row(name: str, seconds: float, workers: int, empty_s: float | None, start_s: float | None) -> list[str]:
        known = [
            "–" if value is None else text
            for value, text in ((empty_s, f"{1000 * (empty_s or 0):.0f} ms"), (start_s, f"{start_s or 0:.1f} s"))
        ]
        return [name, str(workers), f"{seconds:.1f} s", f"{found['one'] / seconds:.2f}×", *known]

    rows = [
        row("joblib", found["one"], 1, None, None),
        row("joblib", found["two"], 2, found["empty"], found["start"]),
        row("Ray", found["ray"], 2, found["ray empty"], found["ray start"]),
    ]
    beside = 100 * (found["ray"] / found["two"] - 1)
    return (
        "## Studies: workers side by side\n\n"
        f"{machine()}. {TASKS} trainings of about {each:.0f} s on one thread each, workers started before; wall-clock "
        f"time from handing them over to the last outcome, medians of {ROUNDS} rounds. *Handed over*: a task that is "
        f"refused at once and recorded, mean of {EMPTY}. *Start*: until two workers have imported what they need and "
        f"done eight short trainings; once per study. Beside joblib Ray takes {beside:+.1f} %. In a run itself, "
        f"{found['around']:.1f} s are not of a stage: opening clips, summary, report.\n\n"
        + table(["", "workers", f"{TASKS} tasks", "of one worker", "handed over", "start"], rows)
    )


if __name__ == "__main__":
    main()
