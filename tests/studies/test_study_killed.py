"""Studies whose processes or machines are killed: nothing is lost, nothing counted twice, the numbers are the same."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from small_recipe import small_recipe

RECIPE = small_recipe(fit="epochs: 25, patience: 25")
STUDY = """\
name: mine
recipe: tiny.yaml
axes:
  criterion: [l1, random, l2]
  fold: [1, 2]
"""
# Kills every process but the one that checks it first, as a run without memory would be.
DEADLY = """\
import os, signal
from coppice.criteria.ranking import Ranking
from coppice.criteria.registry import criterion

@criterion("deadly")
def deadly(weight):
    if str(os.getpid()) != os.environ["CHECKING"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return Ranking.from_scores("deadly", weight.flatten(1).abs().sum(dim=1))
"""
START = "import os; os.environ['CHECKING'] = str(os.getpid()); from coppice.cli.main import main; main()"
TIMES = ("seconds", "finetune_seconds", "energy_kwh")

pytestmark = pytest.mark.proof


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "tiny.yaml").write_text(RECIPE)
    (folder / "mine.yaml").write_text(STUDY)
    (folder / "killing.py").write_text(DEADLY)
    return folder


@pytest.fixture(scope="module")
def started(files, tmp_path_factory):
    """Start ``coppice study run``; what is still going at the end is stopped."""
    variables = {"COPPICE_CACHE": str(tmp_path_factory.mktemp("cache")), "OMP_NUM_THREADS": "1"}
    paths = os.pathsep.join([str(files), *filter(None, [os.environ.get("PYTHONPATH")])])
    begun = []

    def start(out, *options, study="mine.yaml"):
        command = [sys.executable, "-c", START, "study", "run", study, "--out", str(out), *options]
        process = subprocess.Popen(
            command,
            cwd=files,
            env={**os.environ, **variables, "PYTHONPATH": paths},
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
    folder = tmp_path_factory.mktemp("whole") / "study"
    ended(started(folder, "--jobs", "2"))
    assert all((folder / row["run"] / "report.html").exists() for row in rows(folder))
    return numbers(folder)


def ended(process, code=0):
    _, said = process.communicate(timeout=400)
    assert process.returncode == code, said
    assert "Traceback" not in said
    return " ".join(said.split())


def rows(folder):
    with (folder / "results.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


def numbers(folder):
    """Everything in the results that must not depend on interruptions."""
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows(folder)]


def wait_for(happened, process, seconds=200):
    end = time.monotonic() + seconds
    while not happened():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.02)


def finished(folder):
    return len([*folder.glob("runs/*/outcome.json")])


def fitting(folder):
    """Whether a fine-tuning is under way."""
    return any(folder.glob("runs/*/.partial/systems/pruned/2-finetune/inputs.json"))


def test_the_driver_killed_twice_and_started_again_ends_with_the_same_numbers(started, undisturbed, tmp_path):
    folder = tmp_path / "study"
    for count in (0, 2):
        process = started(folder, "--jobs", "2")
        wait_for(lambda count=count: finished(folder) >= count and fitting(folder), process)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        process.wait()
        _, alive = psutil.wait_procs(children, timeout=15)
        assert not alive, "workers outlive the process that asked"
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/outcome.json")}
    assert 2 <= len(kept) < 6
    said = ended(started(folder, "--jobs", "2"))
    assert f"6 runs of 3 points; done already: {len(kept)}" in said
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert numbers(folder) == undisturbed


def test_a_worker_that_is_killed_costs_its_run_a_second_time_and_nothing_else(started, undisturbed, tmp_path):
    folder = tmp_path / "study"
    process = started(folder, "--jobs", "2")
    wait_for(lambda: finished(folder) >= 1 and fitting(folder), process)
    workers = [child for child in psutil.Process(process.pid).children() if "LokyProcess" in " ".join(child.cmdline())]
    assert len(workers) == 2
    workers[0].kill()
    said = ended(process)
    assert "a process was killed; done again at the end, one at a time" in said
    assert numbers(folder) == undisturbed


def test_a_run_that_always_dies_is_recorded_and_the_others_are_done(started, files, undisturbed, tmp_path):
    (files / "deadly.yaml").write_text(STUDY.replace("l2]", "'killing:deadly']"))
    folder = tmp_path / "study"
    said = ended(started(folder, "--jobs", "2", study="deadly.yaml"), code=1)
    assert "2 of 6 runs failed; the same command tries again" in said
    assert numbers(folder)[:4] == undisturbed[:4]
    assert [row["status"] for row in rows(folder)] == ["done"] * 4 + ["failed"] * 2
    assert all("its process was killed twice" in row["reason"] for row in rows(folder)[4:])


def test_one_job_has_a_process_of_its_own_and_the_same_numbers(started, undisturbed, tmp_path):
    folder = tmp_path / "study"
    process = started(folder, "--jobs", "1")
    wait_for(lambda: fitting(folder), process)
    next(c for c in psutil.Process(process.pid).children() if "LokyProcess" in " ".join(c.cmdline())).kill()
    ended(process)
    assert numbers(folder) == undisturbed


def test_two_studies_in_one_folder_are_not_possible(started, tmp_path):
    folder = tmp_path / "study"
    first = started(folder, "--jobs", "1")
    wait_for(lambda: (folder / "study.json").exists(), first)
    assert "another process is working in" in ended(started(folder, "--jobs", "1"), code=2)
    first.send_signal(signal.SIGINT)
    assert ended(first, code=130).endswith("interrupted; the same command goes on where this one stopped.")


@pytest.fixture(scope="module")
def machines():
    """Two machines of a Ray cluster, both of them this one."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    os.environ["CHECKING"] = "0"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "ray_client_server_port": port})
    cluster.client = f"ray://127.0.0.1:{port}"
    yield cluster
    cluster.shutdown()


def test_a_machine_that_is_lost_costs_its_runs_a_second_time_and_nothing_else(machines, started, undisturbed, tmp_path):
    other = machines.add_node(num_cpus=1)
    machines.wait_for_nodes()
    folder = tmp_path / "study"
    process = started(folder, "--cluster", machines.address)
    wait_for(lambda: finished(folder) >= 1 and fitting(folder), process)
    assert "machines: 2, processors: 2" in json.loads((folder / "study.json").read_text())["where"]
    machines.remove_node(other, allow_graceful=False)
    ended(process)
    assert numbers(folder) == undisturbed


def test_the_driver_of_a_cluster_killed_and_started_again_ends_with_the_same_numbers(
    machines, started, undisturbed, tmp_path
):
    folder = tmp_path / "study"
    process = started(folder, "--cluster", machines.address)
    wait_for(lambda: finished(folder) >= 1 and fitting(folder), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    ended(started(folder, "--cluster", machines.address))
    assert numbers(folder) == undisturbed


def test_from_outside_of_a_cluster_come_the_same_numbers(machines, started, undisturbed, tmp_path):
    folder = tmp_path / "study"
    ended(started(folder, "--cluster", machines.client))
    assert numbers(folder) == undisturbed


def test_machines_without_a_common_folder_leave_the_same_numbers_through_a_store(
    machines, started, undisturbed, tmp_path
):
    folder, store = tmp_path / "study", (tmp_path / "store").as_uri()
    process = started(folder, "--cluster", machines.address, "--share", store)
    wait_for(lambda: finished(folder) >= 2, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    ended(started(folder, "--cluster", machines.client, "--share", store))
    assert numbers(folder) == undisturbed
    assert finished(tmp_path / "store") == 6


def test_a_run_that_always_dies_on_a_cluster_is_recorded_and_the_others_are_done(
    machines, started, files, undisturbed, tmp_path
):
    (files / "deadly.yaml").write_text(STUDY.replace("l2]", "'killing:deadly']"))
    folder = tmp_path / "study"
    said = ended(started(folder, "--cluster", machines.address, study="deadly.yaml"), code=1)
    assert "2 of 6 runs failed; the same command tries again" in said
    assert numbers(folder)[:4] == undisturbed[:4]
    assert [row["status"] for row in rows(folder)] == ["done"] * 4 + ["failed"] * 2
    assert all("lost on the cluster 4 times" in row["reason"] for row in rows(folder)[4:])
