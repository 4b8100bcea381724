import json
import uuid
from functools import partial

import fsspec
import pytest

import coppice.evaluation.evaluate as evaluate
import coppice.recipes.run as recipes_run
from coppice.core.errors import CoppiceError
from coppice.studies.cluster import Cluster, do_through
from coppice.studies.engine import run_study
from coppice.studies.exchange import Exchange
from coppice.studies.planned import PlannedStudy
from coppice.studies.study_file import load_study
from coppice.studies.tasks import do_task

RECIPE = """\
name: tiny
data: {source: synthetic, synthetic: {clips_per_class: 5, duration_s: 0.5}}
front_end: {preset: dcase2021, duration_s: 0.5}
network: {name: dcase2021, widths: [3, 4, 4], dense: 6}
training: {epochs: 1, precision: float32}
quantize: null
systems: {thin: [prune: {criterion: l1, ratios: 0.5}]}
"""
STUDY = "{name: mine, recipe: tiny.yaml, axes: {criterion: [l1, random], fold: [1]}}"


@pytest.fixture
def exchange():
    return Exchange(f"memory://{uuid.uuid4()}/study")


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "here"
    for name, text in {
        "outcome.json": "{}",
        "train/stage.json": "1",
        "systems/a b/c.csv": "ä",
        ".lock": "",
        ".partial/x": "",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_arrives_as_it_was_but_for_work_in_progress(exchange, run, tmp_path):
    exchange.deliver(run, "runs/1")
    assert exchange.fetch("runs/1", tmp_path / "there")
    assert files(tmp_path / "there") == {name: data for name, data in files(run).items() if not name.startswith(".")}
    assert exchange.is_same("runs/1", run)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "there"]


def test_what_stood_there_is_replaced_whole(exchange, run, tmp_path):
    exchange.deliver(run, "runs/1")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "old").touch()
    exchange.fetch("runs/1", tmp_path / "there")
    assert not (tmp_path / "there" / "old").exists()


def test_a_half_delivered_run_is_not_there(exchange, run, tmp_path, monkeypatch):
    store, _ = fsspec.core.url_to_fs(exchange.url)
    put = type(store).put_file

    def until_full(self, here, there, **options):
        if "stage" in there:
            raise OSError("no space")
        put(self, here, there, **options)

    monkeypatch.setattr(type(store), "put_file", until_full)
    with pytest.raises(CoppiceError, match=r"cannot write to 'memory://.*no space"):
        exchange.deliver(run, "runs/1")
    assert not exchange.holds("runs/1")
    assert not exchange.fetch("runs/1", tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_no_file_lands_outside_of_the_folder(exchange, run, tmp_path, monkeypatch):
    exchange.deliver(run, "runs/1")
    store, _ = fsspec.core.url_to_fs(exchange.url)
    monkeypatch.setattr(type(store), "find", lambda self, root: [f"{root}/../../outside"])
    with pytest.raises(CoppiceError, match="no file of a run"):
        exchange.fetch("runs/1", tmp_path / "there")
    assert [one.name for one in tmp_path.iterdir()] == ["here"]


@pytest.mark.parametrize("url", ["nowhere://x", "s3://bucket/study"])
def test_a_place_that_cannot_be_opened_is_one_sentence(url):
    with pytest.raises(CoppiceError, match=f"cannot open '{url}'"):
        Exchange(url).check()


def test_an_exchange_without_a_cluster_is_refused(tmp_path):
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    (tmp_path / "mine.yaml").write_text(STUDY)
    with pytest.raises(CoppiceError, match=r"share is 'memory://x' and there is no cluster"):
        run_study(tmp_path / "mine.yaml", out=tmp_path / "study", share="memory://x")


class Ray:
    """Does at once what Ray would do elsewhere."""

    __version__ = "0"

    class exceptions:
        RayError = RuntimeError

    def nodes(self):
        return [{"Alive": True, "Resources": {"memory": 1e12}}]

    def cluster_resources(self):
        return {"CPU": 1}

    def remote(self, **_):
        return lambda work: type("Remote", (), {"remote": staticmethod(lambda *given: partial(work, *given))})

    def wait(self, waiting, num_returns):
        return waiting[:1], waiting[1:]

    def get(self, call):
        return call()


def test_through_an_exchange_come_the_numbers_of_one_machine_and_nothing_is_done_twice(
    exchange, tmp_path, tmp_path_factory, monkeypatch
):
    monkeypatch.setenv("COPPICE_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(recipes_run, "write_report", lambda folder: folder / "report.html")
    monkeypatch.setattr(evaluate, "RESAMPLES", 20)
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    (tmp_path / "mine.yaml").write_text(STUDY)
    here, there = (PlannedStudy(load_study(tmp_path / "mine.yaml"), tmp_path / name) for name in ("here", "there"))
    for folder in (here.folder, there.folder):
        (folder / "base").mkdir(parents=True)
        (folder / "runs").mkdir()
    alone = [do_task(task) for task in (*here.bases, *(task for _, task, _ in here.tasks))]
    cluster = Cluster(Ray(), exchange)
    ours = [one for tasks in (there.bases, [task for _, task, _ in there.tasks]) for _, one in cluster.do(tasks, 1)]

    def numbers(outcomes):
        times = ("seconds", "finetune_seconds", "energy_kwh")
        return [(one.status, {k: v for k, v in one.scores.items() if k not in times}) for one in outcomes]

    assert numbers(ours) == numbers(alone)
    for _, task, _ in there.tasks:
        assert json.loads((task.folder / "outcome.json").read_text())["key"] == task.key
        assert (task.folder / "summary.json").exists()
    # A driver that is started again elsewhere finds in the exchange all that has not failed.
    again = PlannedStudy(load_study(tmp_path / "mine.yaml"), tmp_path / "again")
    monkeypatch.setattr("coppice.studies.cluster.do_task", lambda task: pytest.fail(f"{task.name} is done again"))
    for tasks in (again.bases, [task for _, task, _ in again.tasks]):
        assert [outcome.status for _, outcome in cluster.do(tasks, 1)] == ["done"] * len(tasks)


def test_a_run_that_fails_elsewhere_brings_its_reason(exchange, tmp_path, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("COPPICE_CACHE", str(tmp_path_factory.mktemp("cache")))
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    (tmp_path / "mine.yaml").write_text(STUDY)
    planned = PlannedStudy(load_study(tmp_path / "mine.yaml"), tmp_path / "study")
    outcome = do_through(exchange, planned.tasks[0][1])  # its unpruned network is nowhere
    assert outcome.status == "failed"
    assert "holds no finished training" in outcome.reason
    assert exchange.holds(f"runs/{planned.tasks[0][1].key}")
