"""Searches of several processes, some of which are killed: no trial twice, and none lost."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from small_recipe import small_recipe

RECIPE = small_recipe(widths=(6, 8, 8), fit="epochs: 4", finetune="epochs: 8, patience: 8")
STUDY = """\
name: mine
recipe: tiny.yaml
axes: {fold: [1, 2]}
search:
  ratios: {conv1: [0, 0.75], conv2: [0, 0.9], conv3: [0, 0.75]}
  criterion: [l1, random]
  objectives: [log_loss, macs]
  budget: {macs: 400000}
  trials: 5
"""
START = "from coppice.cli.main import main; main()"

pytestmark = pytest.mark.proof


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "tiny.yaml").write_text(RECIPE)
    (folder / "mine.yaml").write_text(STUDY)
    return folder


@pytest.fixture(scope="module")
def started(files, tmp_path_factory):
    """Start ``coppice study search``; what is still going at the end is stopped."""
    variables = {"COPPICE_CACHE": str(tmp_path_factory.mktemp("cache")), "OMP_NUM_THREADS": "1"}
    begun = []

    def start(out, *options):
        command = [sys.executable, "-c", START, "study", "search", "mine.yaml", "--out", str(out), *options]
        process = subprocess.Popen(
            command,
            cwd=files,
            env={**os.environ, **variables},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        begun.append(process)
        return process

    yield start
    for process in begun:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def undisturbed(started, tmp_path_factory) -> list[dict[str, str]]:
    folder = tmp_path_factory.mktemp("whole") / "search"
    ended(started(folder, "--jobs", "2"))
    return trials(folder)


def ended(process) -> str:
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    return said


def trials(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


def wait_for(condition) -> None:
    until = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < until, "never came so far"
        time.sleep(0.1)


def done(folder: Path) -> int:
    if not (folder / "trials.csv").exists():
        return 0
    return sum(row["status"] == "done" for row in trials(folder))


def test_two_processes_share_a_storage_and_give_no_trial_twice(started, tmp_path):
    storage = ("--storage", f"sqlite:///{tmp_path / 'shared.db'}", "--jobs", "1")
    folders = [tmp_path / "a", tmp_path / "b"]
    for process in [started(folder, *storage) for folder in folders]:
        ended(process)
    ended(started(folders[0], *storage))  # has nothing to do; sees what the other did last
    found = trials(folders[0])
    assert [row["status"] for row in found] == ["done"] * 5
    assert len({row["point"] for row in found}) == 5
    own = [{row["point"] for row in trials(folder) if row["here"] == "1"} for folder in folders]
    assert own[0] | own[1] == {row["point"] for row in found}
    assert not own[0] & own[1]
    assert all(own)
    assert sum(len(list(folder.glob("runs/*"))) for folder in folders) == 10


def test_killed_and_started_again_a_search_ends_with_the_same_numbers(started, undisturbed, tmp_path):
    folder = tmp_path / "search"
    for count in (1, 3):
        process = started(folder, "--jobs", "2")
        wait_for(lambda count=count: done(folder) >= count)
        time.sleep(0.5)  # into the next trial
        process.send_signal(signal.SIGKILL)
        process.wait()
    ended(started(folder, "--jobs", "2"))
    assert trials(folder) == undisturbed


def test_a_search_does_not_depend_on_the_number_of_jobs(started, undisturbed, tmp_path):
    ended(started(tmp_path / "search", "--jobs", "1", "--trials", "2"))
    names = ("trial", "point", "validation_log_loss", "macs")
    assert [[row[name] for name in names] for row in trials(tmp_path / "search")] == [
        [row[name] for name in names] for row in undisturbed[:2]
    ]
