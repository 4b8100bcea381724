import csv
import json
import os
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from importlib.util import find_spec
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
import yaml
from filelock import FileLock
from sqlalchemy import event
from sqlalchemy.engine import Engine

import coppice.evaluation.evaluate as evaluate
import coppice.recipes.run as recipes_run
import coppice.studies.engine as engine
import coppice.studies.sampler as sampler
import coppice.studies.search as search
import coppice.studies.tasks as tasks
import coppice.studies.trial_runs as trial_runs
from coppice import __version__
from coppice.core.errors import CoppiceError
from coppice.reports.hypervolume import hypervolume
from coppice.reports.pareto_front import pareto_front
from coppice.reports.study_page import write_study_page
from coppice.studies.engine import run_study
from coppice.studies.found import read_study
from coppice.studies.planned import Planner
from coppice.studies.search import search_study
from coppice.studies.search_section import Search
from coppice.studies.search_space import SearchSpace
from coppice.studies.study_file import load_study
from coppice.studies.tasks import Outcome, record
from small_recipe import small_recipe

RECIPE = small_recipe(widths=(6, 8, 8), prune="criterion: l1, ratios: 0.5, layers: [conv1, conv2, conv3]")
SECTION = {
    "ratios": {"conv1": [0, 0.75], "conv2": [0, 0.9], "conv3": [0, 0.75]},
    "criterion": ["l1", "random"],
    "precision": ["float32", "float16"],
    "objectives": ["log_loss", "macs"],
    "budget": {"macs": 400_000},
    "trials": 7,
}


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COPPICE_CACHE", str(tmp_path_factory.mktemp("cache")))
        # What takes most of the time, and is tested elsewhere.
        patch.setattr(recipes_run, "write_report", lambda folder: folder / "report.html")
        patch.setattr(evaluate, "RESAMPLES", 20)
        patch.setattr(sampler, "STARTUP", 3)
        # Nothing here outlives a loss of power.
        patch.setattr(os, "fsync", lambda handle: None)
        event.listen(Engine, "connect", without_sync)
        yield
        event.remove(Engine, "connect", without_sync)


def without_sync(connection, _):
    connection.execute("PRAGMA synchronous = OFF")


def pretended(task: tasks.Task) -> Outcome:
    """What a run might come to, known by its recipe alone."""
    if task.base is None:
        scores = dict.fromkeys(("accuracy", "log_loss", "macs", "params_total", "size_bytes"), 1)
        return Outcome(task.key, "done", "", __version__, scores)
    said = task.recipe.systems["pruned"][0].prune
    keep = said.keep or dict.fromkeys(("conv1", "conv2", "conv3"), 8 * (1 - said.ratios))
    loss = 1 + sum(1 / count for count in keep.values()) + 0.1 * (said.criterion == "l1")
    loss += 0.01 * (task.recipe.split.test_fold or 0)
    macs = int(1000 * sum(keep.values()))
    scores = {"macs": macs, "validation_log_loss": loss, "validation_accuracy": 1 / loss}
    scores |= {name: 1 for name in ("accuracy", "log_loss", "params_total", "size_bytes")}
    return Outcome(task.key, "done", "", __version__, scores)


class Pretence:
    """Runs without training; ``before`` is called with the number of runs so far and the task."""

    def __init__(self):
        self.tasks = []
        self.before = lambda count, task: None

    def __call__(self, given, jobs):
        for task in given:
            self.before(len(self.tasks), task)
            self.tasks.append(task)
            outcome = pretended(task)
            record(task, outcome)
            yield task, outcome


@pytest.fixture
def pretence(monkeypatch):
    made = Pretence()
    monkeypatch.setattr(trial_runs, "in_processes", made)
    monkeypatch.setattr(engine, "in_processes", made)
    for module in (search, engine):
        monkeypatch.setattr(module, "write_study_page", lambda folder: folder)
    return made


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "tiny.yaml").write_text(RECIPE)
    return folder


@pytest.fixture
def file(files, tmp_path):
    """Write a study file; called with changes of its section ``search`` and of the whole."""

    def write(changes=None, name="mine", **whole) -> Path:
        section = {key: value for key, value in {**SECTION, **(changes or {})}.items() if value is not None}
        values = {"name": name, "recipe": str(files / "tiny.yaml"), "axes": {"seed": [0]}, "search": section, **whole}
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(values, sort_keys=False))
        return path

    return write


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines))


def trials(folder: Path) -> list[dict[str, str]]:
    return rows(folder / "trials.csv")


def space_of(path: Path, folder: Path) -> SearchSpace:
    study = load_study(path)
    return SearchSpace(study, Planner(study, folder).data)


def course(folder: Path) -> list[dict[str, str]]:
    """What each trial was, whatever came after it."""
    return [{name: cell for name, cell in row.items() if name != "on_front"} for row in trials(folder)]


def brute_front(costs, losses):
    return [
        not any(c <= cost and s <= loss and (c, s) != (cost, loss) for c, s in zip(costs, losses, strict=True))
        for cost, loss in zip(costs, losses, strict=True)
    ]


def painted_area(costs, losses, reference):
    """The hypervolume by painting every cell between neighbouring coordinates."""
    xs, ys = (sorted({*values, end}) for values, end in ((costs, reference[0]), (losses, reference[1])))
    points = list(zip(costs, losses, strict=True))
    return sum(
        (right - left) * (top - bottom)
        for (left, right), (bottom, top) in product(pairwise(xs), pairwise(ys))
        if right <= reference[0] and top <= reference[1] and any(c <= left and s <= bottom for c, s in points)
    )


def test_front_and_hypervolume_are_those_of_brute_force():
    rng = np.random.default_rng(0)
    for count in (1, 2, 7, 40):
        costs, losses = rng.integers(1, 12, size=(2, count)).astype(float)  # with ties
        reference = (9.0, 10.0)
        assert pareto_front(costs, losses, higher=False).tolist() == brute_front(costs, losses)
        area = hypervolume(costs, losses, higher=False, reference=reference)
        assert area == pytest.approx(painted_area(costs, losses, reference))
        assert hypervolume(costs, -losses, higher=True, reference=(9.0, -10.0)) == pytest.approx(area)
    assert hypervolume(np.array([9.0, 3.0]), np.array([1.0, 10.0]), higher=False, reference=(9.0, 10.0)) == 0


@pytest.mark.proof
def test_what_a_trial_costs_is_known_before_it_is_trained_and_the_page_shows_the_search(
    file, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(trial_runs, "in_processes", lambda given, jobs: ((task, tasks.do_task(task)) for task in given))
    monkeypatch.setattr("coppice.reports.study_page.MOST_PDF", 0)
    path = file({"trials": 2}, axes={"fold": [1]})
    folder = search_study(path, out=tmp_path / "out")
    found, results = trials(folder), rows(folder / "results.csv")
    assert ([row["trial"] for row in found], len(results)) == (["1", "2"], 2)
    space = space_of(path, folder)
    for row, result in zip(found, results, strict=True):
        assert row["point"] == result["point"]
        assert float(row["validation_log_loss"]) == float(result["validation_log_loss"])
        removed = {
            f"removed.{layer.name}": round(float(row[f"axis.ratio.{layer.name}"]) * layer.filters)
            for layer in space.layers
        }
        costs = space.costs({**removed, "precision": row["axis.precision"]})
        assert {name: int(result[name]) for name in costs} == costs
        assert float(row["macs"]) == costs["macs"] <= 400_000
    assert [path.name for path in (folder / "base").iterdir()] == ["fold1-seed0"]
    said = json.loads((folder / "study.json").read_text())["search"]
    assert said["objectives"] == ["log_loss", "macs"]
    assert said["reference"] == {"macs": 400_000, "log_loss": pytest.approx(np.log(10))}
    assert len(read_study(folder).points) == 3
    page = (folder / "study.html").read_text()
    assert "How the search went" in page
    assert "search-front" in page
    assert "trial 2 of 2: criterion=" in capsys.readouterr().err


def test_nothing_beyond_the_budget_or_twice_is_run_and_the_record_tells_how_the_front_grew(file, tmp_path, pretence):
    path = file({"trials": 9}, axes={"fold": [1, 2]})
    folder = search_study(path, out=tmp_path / "out")
    found, space = trials(folder), space_of(path, folder)
    results = rows(folder / "results.csv")
    run = [task for task in pretence.tasks if task.base is not None]
    assert 2 * len(found) == len(run) == len({task.key for task in run}) == 18
    for task in run:
        keep = task.recipe.systems["pruned"][0].prune.keep
        removed = {f"removed.{layer.name}": layer.filters - keep[layer.name] for layer in space.layers}
        assert space.costs({**removed, "precision": "float32"})["macs"] <= 400_000
    for row in found:
        own = [one for one in results if one["point"] == row["point"]]
        assert [one["fold"] for one in own] == ["1", "2"]
        mean = sum(float(one["validation_log_loss"]) for one in own) / 2
        assert float(row["validation_log_loss"]) == pytest.approx(mean, abs=1e-15)
    costs, losses = ([float(row[name]) for row in found] for name in ("macs", "validation_log_loss"))
    assert [row["on_front"] == "1" for row in found] == brute_front(costs, losses)
    reference = json.loads((folder / "study.json").read_text())["search"]["reference"]
    edge = (reference["macs"], reference["log_loss"])
    for count, row in enumerate(found, start=1):
        front = brute_front(costs[:count], losses[:count])
        assert (row["joined"], row["front"]) == (str(int(front[-1])), str(sum(front)))
        share = painted_area(costs[:count], losses[:count], edge) / (edge[0] * edge[1])
        assert float(row["hypervolume"]) == pytest.approx(share, abs=1e-8)


def test_the_closed_form_counts_what_a_cut_network_has_and_other_steps_count_too(file, tmp_path):
    path = file({"budget": None})
    plain = space_of(path, tmp_path / "out")
    rng = random.Random(0)
    for _ in range(3):
        choice = plain.draw(rng)
        assert plain._counted(choice) == plain._cut(choice)
    steps = [{"prune": {"criterion": "l1", "ratios": 0.5}}, {"dense": {"units": {"dense1": 3}}}]
    smaller = space_of(file({"budget": None}, system=steps), tmp_path / "out").costs(choice)
    assert smaller["macs"] < plain.costs(choice)["macs"]
    assert (
        plain.costs({**choice, "precision": "float32"})["size_bytes"]
        == 2 * (plain.costs({**choice, "precision": "float16"})["size_bytes"])
    )


@pytest.fixture(scope="module")
def undisturbed(files, tmp_path_factory) -> list[dict[str, str]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trial_runs, "in_processes", Pretence())
        patch.setattr(search, "write_study_page", lambda folder: folder)
        path = files / "mine.yaml"
        values = {"name": "mine", "recipe": "tiny.yaml", "axes": {"seed": [0]}, "search": SECTION}
        path.write_text(yaml.safe_dump(values))
        return course(search_study(path, out=tmp_path_factory.mktemp("whole") / "out"))


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt, pytest.param(SystemExit, marks=pytest.mark.proof)]
)  # of the second, the storage hears nothing
def test_an_interrupted_search_ends_as_if_it_had_not_been(file, tmp_path, pretence, undisturbed, error, capsys):
    def stop(count, task):
        if count == 4:  # the unpruned network is the first
            pretence.before = lambda count, task: None
            raise error

    pretence.before = stop
    with pytest.raises(error):
        search_study(file(), out=tmp_path / "out")
    assert [row["status"] for row in trials(tmp_path / "out")] == ["done"] * 3
    search_study(file(), trials=2, out=tmp_path / "out")  # there are more
    assert "interrupted or failed, and tried again: 1" in " ".join(capsys.readouterr().err.split())
    search_study(file(), trials=6, out=tmp_path / "out")
    assert course(tmp_path / "out") == undisturbed[:6]


def test_killed_before_it_has_a_point_a_trial_is_drawn_anew(file, tmp_path, pretence, undisturbed, monkeypatch):
    import coppice.studies.trials as kept

    with monkeypatch.context() as patch:
        patch.setattr(kept, "suggested", lambda *_: sys.exit())
        with pytest.raises(SystemExit):
            search_study(file(), out=tmp_path / "out")
    search_study(file(), trials=2, out=tmp_path / "out")
    assert course(tmp_path / "out") == undisturbed[:2]


def test_what_is_done_in_the_folder_is_not_done_again(file, tmp_path, pretence, undisturbed):
    search_study(file(), trials=2, out=tmp_path / "out")
    (tmp_path / "out" / "search.db").unlink()
    (tmp_path / "out" / "search.json").unlink()
    done = len(pretence.tasks)
    search_study(file(), trials=2, out=tmp_path / "out")
    assert len(pretence.tasks) == done
    assert course(tmp_path / "out") == undisturbed[:2]


def test_a_trial_whose_run_fails_is_told_and_tried_again(file, tmp_path, pretence, capsys):

    def breaks(count, task):
        if count == 2:
            pretence.tasks.append(task)
            raise CoppiceError("no memory")

    pretence.before = breaks
    search_study(file({"trials": 2}), out=tmp_path / "out")
    last = trials(tmp_path / "out")[-1]
    assert (last["status"], last["reason"], last["trial"]) == ("failed", "no memory", "")
    assert "1 of 2 trials failed; the same command tries again" in " ".join(capsys.readouterr().err.split())
    search_study(file({"trials": 2}), out=tmp_path / "out")
    assert [row["status"] for row in trials(tmp_path / "out")] == ["done"] * 2


def test_machines_that_join_see_all_trials_and_do_none_twice(file, tmp_path, pretence, capsys):
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    names = ["a", "b", "c"]
    joined = []

    def others_join(count, task):
        if len(joined) < 2:  # while this trial is under way
            joined.append(task)
            search_study(file(), storage=storage, trials=2 * len(joined), out=tmp_path / names[len(joined)])

    pretence.before = lambda count, task: others_join(count, task) if task.base is not None else None
    search_study(file(), storage=storage, trials=5, out=tmp_path / "a")
    run = [task.key for task in pretence.tasks if task.base is not None]
    assert len(run) == len(set(run)) == 5
    found = trials(tmp_path / "a")
    assert [row["status"] for row in found] == ["done"] * 5
    own = {name: {row["point"] for row in rows(tmp_path / name / "results.csv")} for name in names}
    assert sum(map(len, own.values())) == 5
    assert set().union(*own.values()) == {row["point"] for row in found}
    assert {row["point"] for row in found if row["here"] == "1"} == own["a"]
    assert "under way elsewhere: 1" in " ".join(capsys.readouterr().err.split())


@pytest.fixture
def grid(file, tmp_path, pretence):
    """Carry out a grid of the same recipe; called with its axes."""

    def run(name="grid", axes=None, **whole):
        axes = {"criterion": ["l1", "l2"], "ratios": [0.25, 0.5, 0.75], "seed": [0], **(axes or {})}
        path = tmp_path / f"{name}.yaml"
        recipe = str(tmp_path / "tiny.yaml")
        Path(recipe).write_text(RECIPE)
        path.write_text(yaml.safe_dump({"name": name, "recipe": recipe, "axes": axes, **whole}))
        return run_study(path, out=tmp_path / name)

    return run


def test_a_search_starts_from_the_points_of_a_grid(file, tmp_path, pretence, grid, capsys):
    folder = grid()
    before = len(pretence.tasks)
    path = file({"budget": None, "trials": 2})
    out = search_study(path, source=folder, out=tmp_path / "out")
    given = [row for row in trials(out) if row["grid"]]
    names = ("trial", "grid", "axis.criterion", "axis.precision")
    assert [[row[name] for name in names] for row in given] == [["0", "grid", "l1", "float32"]] * 3
    ratios = [[float(row[f"axis.ratio.conv{layer}"]) for layer in (1, 2, 3)] for row in given]
    assert ratios == [
        pytest.approx([1 / 6, 0.25, 0.25], abs=1e-5),
        [0.5] * 3,
        pytest.approx([4 / 6, 0.75, 0.75], abs=1e-5),
    ]
    of_grid = {row["point"]: row for row in rows(folder / "results.csv")}
    for row, ratio in zip(given, ("0.25", "0.5", "0.75"), strict=True):
        theirs = of_grid[f"criterion=l1 ratios={ratio}"]
        assert float(row["validation_log_loss"]) == float(theirs["validation_log_loss"])
        assert float(row["macs"]) == float(theirs["macs"])
    assert len(trials(out)) == 5
    said = " ".join(capsys.readouterr().err.split())
    assert "3 points of grid are taken as tried; left out: 3 outside the search space" in said
    run = pretence.tasks[before:]
    assert len([task for task in run if task.base is not None]) == 2
    search_study(path, source=folder, trials=3, out=tmp_path / "out")
    assert len(trials(out)) == 6


def test_points_of_a_grid_that_lack_something_are_left_out_and_counted(file, tmp_path, pretence, grid, capsys):
    folder = grid(axes={"criterion": ["l1"]})
    table = (folder / "results.csv").read_text().splitlines()
    column = table[0].split(",").index("validation_log_loss")
    cells = table[2].split(",")
    cells[column] = ""
    table[2] = ",".join(cells)
    table[3] = table[3].replace(f",{__version__},", ",0.0.9,")
    (folder / "results.csv").write_text("\n".join(table) + "\n")
    search_study(file({"budget": None, "trials": 1}), source=folder, out=tmp_path / "out")
    said = " ".join(capsys.readouterr().err.split())
    assert (
        "1 points of grid are taken as tried; left out: 1 without validation scores, 1 from another version of Coppice"
    ) in said


def test_a_grid_beyond_the_budget_gives_only_what_fits(file, tmp_path, pretence, grid, capsys):
    search_study(file({"trials": 1}), source=grid(axes={"criterion": ["l1"]}), out=tmp_path / "out")
    assert "left out: 2 beyond the budget" in " ".join(capsys.readouterr().err.split())


@pytest.mark.proof
def test_a_grid_of_something_else_is_refused(file, tmp_path, pretence, grid):
    other = grid("other", set={"training.epochs": 2})
    with pytest.raises(CoppiceError, match="is a study of another recipe: training differ"):
        search_study(file(), source=other, out=tmp_path / "out")
    steps = grid("steps", system=[{"prune": {"criterion": "l1", "ratios": 0.5}}])
    with pytest.raises(CoppiceError, match=r"no point of .* is in the search space"):
        search_study(file(), source=steps, out=tmp_path / "out")
    done = search_study(file(), trials=1, out=tmp_path / "out")
    with pytest.raises(CoppiceError, match="holds a search; --from takes the folder of a grid"):
        search_study(file(), source=done, out=tmp_path / "second")
    with pytest.raises(CoppiceError, match="cannot read the study"):
        search_study(file(), source=tmp_path / "nowhere", out=tmp_path / "second")
    with pytest.raises(CoppiceError, match="holds the results of a grid; choose another folder"):
        search_study(file(), out=other)
    with pytest.raises(CoppiceError, match="holds the results of a search; choose another folder"):
        run_study(tmp_path / "steps.yaml", out=done)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"ratio": {"conv1": [0, 0.5]}}, "has no key 'search.ratio'. Did you mean 'ratios'?"),
        ({"ratios": {"conv1": [0, 1.0]}}, "search.ratios: 'conv1' has [0, 1]; give two numbers from 0 to below 1."),
        ({"ratios": {"conv1": [-0.1, 0.5]}}, "'conv1' has [-0.1, 0.5]; give two numbers from 0 to below 1."),
        ({"ratios": {"conv1": [0.5, 0.25]}}, "'conv1' has [0.5, 0.25]; give the smaller number first."),
        ({"ratios": {"con1": [0, 0.5]}}, "search.ratios: there is no convolution or linear layer 'con1'. Did you mean"),
        ({"ratios": {"dense2": [0, 0.5]}}, "search.ratios: 'dense2' cannot be cut"),
        ({"ratios": {"conv1": [0.01, 0.1]}}, "of the 6 filters of 'conv1' no whole number is between 0.01 and 0.1"),
        ({"ratios": {}}, "search.ratios: give at least one"),
        ({"ratios": None}, "lacks the key 'search.ratios'"),
        ({"objectives": None}, "lacks the key 'search.objectives'"),
        ({"objectives": []}, "give a score and a cost, such as objectives: [log_loss, macs]"),
        ({"objectives": ["log_los", "macs"]}, "there is no objective 'log_los'. Did you mean 'log_loss'?"),
        ({"objectives": ["log_loss", "accuracy"]}, "give a score and a cost"),
        ({"criterion": ["l1", "l1"]}, "'l1' stands there twice"),
        ({"criterion": ["l1", "l12"]}, "there is no criterion 'l12'"),
        ({"precision": ["float8"]}, "there is no precision 'float8'. Did you mean 'float32'?"),
        ({"budget": {"mac": 3}}, "there is no budget of 'mac'. Did you mean 'macs'?"),
        ({"budget": {"macs": 0}}, "search.budget.macs is 0"),
        (
            {"budget": {"macs": 1000}},
            "the budget is at most 1,000 MACs, and with the largest ratios the network still takes ",
        ),
        ({"budget": {"size_bytes": 9000}, "precision": ["int8"]}, "how many bytes int8 takes is known only when"),
        ({"trials": 0}, "search.trials is 0"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_is_trained(file, tmp_path, pretence, changes, sentence):
    with pytest.raises(CoppiceError) as caught:
        search_study(file(changes), out=tmp_path / "out")
    assert sentence in str(caught.value)
    assert pretence.tasks == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("whole", "sentence"),
    [
        ({"axes": {"criterion": ["l1"]}}, "a search takes the axes fold and seed alone; leave out 'criterion'"),
        ({"cap": 3}, "leave out 'cap'"),
        ({"system": [{"finetune": {}}]}, "its system has none"),
        (
            {"system": [{"prune": {"criterion": "l1"}}, {"prune": {"criterion": "l2"}}]},
            "its system has prune and prune",
        ),
    ],
)
def test_a_study_that_does_not_fit_a_search_is_refused(file, tmp_path, pretence, whole, sentence):
    with pytest.raises(CoppiceError) as caught:
        search_study(file(**whole), out=tmp_path / "out")
    assert sentence in " ".join(str(caught.value).split())


def test_a_grid_is_no_search_nor_the_other_way_round(file, tmp_path, pretence):
    with pytest.raises(CoppiceError, match="has no section 'search:', so it is a grid: coppice study run"):
        search_study("criteria-shootout", out=tmp_path / "out")
    with pytest.raises(CoppiceError, match="is a search; carry it out with coppice study search"):
        run_study(file(), out=tmp_path / "out")
    for name, value in (("trials", 0), ("jobs", -1)):
        with pytest.raises(CoppiceError, match=f"{name} is {value}; give a whole number from 1 upwards"):
            search_study(file(), out=tmp_path / "out", **{name: value})


def test_without_optuna_a_search_is_refused_in_one_sentence(file, tmp_path, pretence, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CoppiceError, match=r"needs Optuna, which is not installed; pip install 'coppice\[search\]'"):
        search_study(file(), out=tmp_path / "out")


def test_a_second_process_in_a_folder_is_told_how_to_join(file, tmp_path, pretence):
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / ".lock"), pytest.raises(CoppiceError) as caught:
        search_study(file(), out=tmp_path / "out")
    assert "another process is working in" in str(caught.value)
    assert f"the same --storage, such as sqlite:///{tmp_path / 'out' / 'search.db'}." in str(caught.value)


@pytest.mark.parametrize(("minutes", "taken_over"), [(11, True), (9, False)])
def test_the_trial_of_a_machine_that_is_silent_for_ten_minutes_is_tried_by_another(
    minutes, taken_over, file, tmp_path, pretence
):
    def lost(count, task):
        if count == 3:  # the unpruned network, and two trials
            raise SystemExit  # of which the storage hears nothing

    pretence.before = lost
    shared = tmp_path / "shared.db"
    with pytest.raises(SystemExit):
        search_study(file(), storage=f"sqlite:///{shared}", trials=3, out=tmp_path / "a")
    pretence.before = lambda count, task: None
    with closing(sqlite3.connect(shared)) as kept, kept:
        kept.execute(f"UPDATE trial_heartbeats SET heartbeat = datetime('now', '-{minutes} minutes')")
    found = trials(search_study(file(), storage=f"sqlite:///{shared}", trials=3, out=tmp_path / "b"))
    assert [row["status"] for row in found] == ["done", "done", "done" if taken_over else "running"]
    assert [row["here"] for row in found] == ["0", "0", str(int(taken_over))]
    assert len({row["point"] for row in found}) == 3


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("here.db", "storage 'here.db' is no address of a database; give for example sqlite:///"),
        ("sqlite:////nowhere/at/all/search.db", "cannot be used: unable to open database file."),
        ("nosuch://host/name", "storage 'nosuch://host/name' is no address of a database"),
        ("postgresql://me:secret@localhost/x", "the storage postgresql://me:***@localhost/x cannot be used: "),
        pytest.param(
            "mysql+pymysql://me@localhost/x",
            "cannot be used: its driver 'pymysql' is not installed; install that package, or name another driver",
            marks=pytest.mark.skipif(find_spec("pymysql") is not None, reason="the driver is installed"),
        ),
    ],
)
def test_a_storage_that_does_not_open_is_one_sentence(file, tmp_path, pretence, address, sentence):
    with pytest.raises(CoppiceError) as caught:
        search_study(file(), storage=address, out=tmp_path / "out")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_one_sentence(file, tmp_path, pretence):
    (tmp_path / "x.db").write_text("not a database " * 100)
    with pytest.raises(CoppiceError, match=r"cannot be used: file is not a database\."):
        search_study(file(), storage=f"sqlite:///{tmp_path / 'x.db'}", out=tmp_path / "out")


@pytest.mark.proof
def test_a_storage_of_another_search_is_refused(file, tmp_path, pretence):
    search_study(file(), trials=1, out=tmp_path / "out")
    storage = f"sqlite:///{tmp_path / 'out' / 'search.db'}"
    with pytest.raises(CoppiceError, match="holds another search 'mine': search space and objectives is not the same"):
        search_study(file({"criterion": ["l1"]}), out=tmp_path / "out")
    changed = {"changes": ["training.epochs=2"], "storage": storage}
    with pytest.raises(CoppiceError, match="holds another search 'mine': recipe and clips is not the same"):
        search_study(file(), out=tmp_path / "second", **changed)
    with pytest.raises(CoppiceError, match=r"is part of the search in sqlite:.*; give that with --storage"):
        search_study(file(), storage=f"sqlite:///{tmp_path / 'other.db'}", out=tmp_path / "out")
    import optuna

    optuna.create_study(storage=f"sqlite:///{tmp_path / 'o.db'}", study_name="mine").optimize(lambda t: 1.0, n_trials=1)
    with pytest.raises(CoppiceError, match="holds a study 'mine' that Coppice did not begin"):
        search_study(file(), storage=f"sqlite:///{tmp_path / 'o.db'}", out=tmp_path / "third")


def test_a_small_space_ends_the_search_when_all_of_it_has_been_tried(file, tmp_path, pretence, capsys):
    small = {"ratios": {"conv1": [0.5, 0.75]}, "criterion": None, "precision": None, "budget": None}
    search_study(file(small), out=tmp_path / "out")
    assert sorted(float(row["axis.ratio.conv1"]) for row in trials(tmp_path / "out")) == pytest.approx([0.5, 4 / 6])
    said = " ".join(capsys.readouterr().err.split())
    assert "the search ends: no point is left that fits the budget and has not been tried" in said


def test_a_damaged_record_of_trials_is_one_sentence(file, tmp_path, pretence):
    folder = search_study(file(), trials=2, out=tmp_path / "out")
    good = (folder / "trials.csv").read_text()
    for text, sentence in (
        ("", "is damaged: the column 'status' is not whole"),
        (good.replace("hypervolume", "hyper"), "is damaged: the column 'hypervolume' is not whole"),
        (good.replace(",1,1,", ",x,1,"), "is damaged: joined is not all numbers"),
    ):
        (folder / "trials.csv").write_text(text)
        with pytest.raises(CoppiceError) as caught:
            write_study_page(folder)
        assert sentence in str(caught.value)


def test_the_shipped_search_can_be_read():
    study = load_study("search-esc10")
    assert isinstance(study.file.search, Search)
    assert (study.folds, study.axes) == ("all", {})


def test_the_command_refuses_a_grid_without_loading_torch_or_optuna():
    heavy = "{'torch', 'optuna', 'sqlalchemy'} & set(sys.modules)"
    code = f"import sys, atexit; atexit.register(lambda: print({heavy})); from coppice.cli.main import main; main()"
    command = [sys.executable, "-c", code, "study", "search", "criteria-shootout"]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert (answer.returncode, answer.stdout.strip()) == (2, "set()")
    assert "coppice: study criteria-shootout.yaml has no section 'search:'" in answer.stderr
