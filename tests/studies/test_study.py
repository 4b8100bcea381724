import csv
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

import coppice.evaluation.evaluate as evaluate
import coppice.recipes.run as recipes_run
import coppice.studies.engine as engine
import coppice.studies.tasks as tasks
from coppice import __version__
from coppice.core.errors import CoppiceError
from coppice.recipes.recipe import load_recipe
from coppice.recipes.run import run_single
from coppice.studies.capacity import jobs_that_fit
from coppice.studies.cluster import connected
from coppice.studies.engine import run_study
from coppice.studies.found import read_study
from coppice.studies.results import columns
from small_recipe import small_recipe

RECIPE = small_recipe()
STUDY = """\
name: mine
title: A small study
recipe: tiny.yaml
axes:
  criterion: [l1, random]
  fraction: {without: 0, half: 0.5}
  fold: [1, 2]
"""


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COPPICE_CACHE", str(tmp_path_factory.mktemp("cache")))
        # In this process: others take seconds to start. tests/studies/test_study_killed.py has them.
        patch.setattr(engine, "in_processes", lambda given, jobs: ((task, tasks.do_task(task)) for task in given))
        # What takes most of the time, and is tested elsewhere.
        patch.setattr(recipes_run, "write_report", lambda folder: folder / "report.html")
        patch.setattr(evaluate, "RESAMPLES", 20)
        yield


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "tiny.yaml").write_text(RECIPE)
    (folder / "mine.yaml").write_text(STUDY)
    return folder / "mine.yaml"


@pytest.fixture(scope="module")
def done(file, tmp_path_factory) -> Path:
    return run_study(file, out=tmp_path_factory.mktemp("study") / "study")


@pytest.fixture
def small(file, tmp_path):
    """A study of two runs; called with the text of its axes, and with changes."""

    def run(axes="criterion: [l1, random]", text="", **options):
        path = file.with_name(f"small-{hashlib.md5((axes + text).encode()).hexdigest()}.yaml")
        path.write_text(f"name: small\nrecipe: tiny.yaml\naxes: {{{axes}, fraction: [0]}}\n{text}")
        return run_study(path, out=tmp_path / "small", **options)

    return run


def clips(path):
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines))


def rows(folder):
    return clips(folder / "results.csv")


def stage_scores(folder):
    metrics = json.loads((folder / "metrics.json").read_text())
    return metrics["evaluation"]["test"], metrics["complexity"]


def test_there_is_a_row_for_every_point_and_fold_with_what_the_run_folders_say(done):
    found = rows(done)
    assert list(found[0]) == list(columns(["criterion", "fraction"]))
    assert [(row["axis.criterion"], row["axis.fraction"], row["fold"]) for row in found] == [
        (criterion, fraction, fold)
        for criterion in ("l1", "random")
        for fraction in ("without", "half")
        for fold in "12"
    ]
    for row in found:
        assert (row["status"], row["reason"], row["seed"], row["coppice_version"]) == ("done", "", "0", __version__)
        folder = done / row["run"]
        last = "2-finetune" if row["axis.fraction"] == "half" else "1-prune"
        scores, cost = stage_scores(folder / "systems" / "pruned" / last)
        base_scores, base_cost = stage_scores(done / "base" / f"fold{row['fold']}-seed0" / "train")
        for name in ("accuracy", "macro_accuracy", "log_loss", "clips"):
            assert float(row[name]) == scores[name]
        for name in ("params_total", "params_bn_folded", "macs"):
            assert int(row[name]) == cost[name]
        assert int(row["size_bytes"]) == cost["size_bytes_float32"]
        chosen_by = json.loads((folder / "systems" / "pruned" / last / "metrics.json").read_text())
        for name in ("accuracy", "log_loss"):
            assert float(row[f"base_{name}"]) == base_scores[name]
            assert float(row[f"validation_{name}"]) == chosen_by["evaluation"]["validation"][name]
        assert (int(row["base_macs"]), int(row["base_params_total"])) == (base_cost["macs"], base_cost["params_total"])
        assert int(row["base_size_bytes"]) == base_cost["size_bytes_float32"]
        assert int(row["macs"]) < int(row["base_macs"])
        assert int(row["finetune_clips"]) == (10 if last == "2-finetune" else 0)  # of 30, whole recordings
        assert int(row["finetune_epochs"]) == (1 if last == "2-finetune" else 0)
        assert int(row["finetune_clips_seen"]) == (10 if last == "2-finetune" else 0)
        checked = [clip for clip in clips(folder / "data" / "clips.csv") if clip["side"] == "validation"]
        spent = (3 * 10 + len(checked)) * cost["macs"]
        assert int(row["finetune_macs"]) == (spent if last == "2-finetune" else 0)
        assert (float(row["finetune_seconds"]) > 0) == (last == "2-finetune")
        assert float(row["seconds"]) >= float(row["finetune_seconds"])
        assert row["latency_ms_p50"] == ""
        stages = folder.glob("systems/pruned/*/stage.json")
        spent = sum(json.loads(stage.read_text())["energy"]["energy_kwh"] for stage in stages)
        assert float(row["energy_kwh"]) == pytest.approx(spent)


def test_run_folders_are_whole(done):
    for row in rows(done):
        folder = done / row["run"]
        fit = folder / "systems" / "pruned" / "2-finetune"
        assert (folder / "systems" / "pruned" / "1-prune" / "plan.json").exists()
        names = {"checkpoint.safetensors", "history.csv", "metrics.json", "predictions.csv", "stage.json"}
        assert not fit.exists() or {path.name for path in fit.iterdir()} == names
        assert not (folder / ".partial").exists()


def test_every_unpruned_network_is_trained_once_and_shared(done):
    for row in rows(done):
        own = done / row["run"] / "train"
        base = done / "base" / f"fold{row['fold']}-seed0" / "train"
        assert (own / "stage.json").read_bytes() == (base / "stage.json").read_bytes()
        assert (own / "checkpoint.safetensors").samefile(base / "checkpoint.safetensors")
    assert sorted(path.name for path in (done / "base").iterdir()) == ["fold1-seed0", "fold2-seed0"]


def test_a_point_has_the_numbers_of_a_run_that_does_everything_itself(done, file, tmp_path):
    changes = ["split.strategy=folds", "split.test_fold=2", "systems.thin=[{prune: {criterion: random, ratios: 0.5}}]"]
    fit = "{finetune: {epochs: 1, precision: float32, fraction: 0.5}}"
    changes[-1] = changes[-1][:-1] + f", {fit}]"
    run_single(load_recipe(file.with_name("tiny.yaml"), changes=changes), tmp_path / "alone")
    (row,) = [row for row in rows(done) if row["point"] == "criterion=random fraction=half" and row["fold"] == "2"]
    for stage in ("train", "systems/{}/1-prune", "systems/{}/2-finetune"):
        for name in ("predictions.csv", "metrics.json"):
            alone = (tmp_path / "alone" / stage.format("thin") / name).read_bytes()
            assert (done / row["run"] / stage.format("pruned") / name).read_bytes() == alone


def test_the_record_says_what_the_columns_are_and_how_many_are_done(done):
    said = json.loads((done / "study.json").read_text())
    assert said["axes"] == {"criterion": ["l1", "random"], "fraction": ["without", "half"]}
    assert (said["folds"], said["seeds"], said["kind"], said["version"]) == ([1, 2], [0], "study", 1)
    assert said["counts"] == {"done": 8, "failed": 0, "waiting": 0}
    assert said["versions"] == {__version__: 8}
    assert list(said["columns"]) == list(rows(done)[0])
    page = (Path(__file__).parents[2] / "docs" / "studies.md").read_text()
    assert all(f"`{name}`" in page for name in columns([]))
    assert all(f"`{name}`" in page for name in said)


def test_what_is_done_is_not_done_again_and_a_grown_file_adds_to_it(small, monkeypatch, capsys):
    folder = small("criterion: [l1]")
    before = rows(folder)
    begun = []
    original = tasks._run
    monkeypatch.setattr(tasks, "_run", lambda task, jobs: begun.append(task.name) or original(task, jobs))
    small("criterion: [l1]")
    assert begun == []
    small("criterion: [l1, l2]")
    assert [name.split(",")[0] for name in begun] == ["criterion=l2 fraction=0"]
    assert rows(folder)[0] == before[0]
    small("criterion: [l2]")
    assert "1 run not of this study as it is now" in " ".join(capsys.readouterr().err.split())
    assert [row["axis.criterion"] for row in rows(folder)] == ["l2"]


def test_a_file_that_gains_a_training_keeps_the_networks_of_the_first_one(small, monkeypatch):
    small("criterion: [l1], training: {short: {epochs: 1, precision: float32}}")
    begun = []
    original = tasks._run
    monkeypatch.setattr(tasks, "_run", lambda task, jobs: begun.append(task.name) or original(task, jobs))
    both = "short: {epochs: 1, precision: float32}, long: {epochs: 2, precision: float32}"
    small(f"criterion: [l1], training: {{{both}}}")
    assert [name.split(",")[0] for name in begun] == ["unpruned", "criterion=l1 training=long fraction=0"]


def test_a_run_that_fails_is_recorded_with_its_reason_and_tried_again(small, monkeypatch, capsys):
    original = tasks._run

    def breaks(task, jobs):
        if "random" in task.name:
            raise RuntimeError("not\nenough of it")
        return original(task, jobs)

    with monkeypatch.context() as patch:
        patch.setattr(tasks, "_run", breaks)
        folder = small()
    good, bad = rows(folder)
    assert (good["status"], bad["status"], bad["reason"]) == ("done", "failed", "RuntimeError: not enough of it")
    assert bad["accuracy"] == ""
    assert bad["base_accuracy"] == good["base_accuracy"]
    assert "failed: criterion=random" in capsys.readouterr().err
    assert json.loads((folder / "study.json").read_text())["counts"] == {"done": 1, "failed": 1, "waiting": 0}
    assert any("failed: 1 of 2 runs" in remark for remark in read_study(folder).remarks)
    small()
    assert "failed and tried again: 1" in " ".join(capsys.readouterr().err.split())
    assert [row["status"] for row in rows(folder)] == ["done", "done"]
    assert rows(folder)[0] == good


def test_the_points_of_a_training_that_fails_fail_with_its_reason(small, monkeypatch):
    def breaks(task, jobs):
        raise CoppiceError(f"{task.folder.parent.name} is broken.")

    with monkeypatch.context() as patch:
        patch.setattr(tasks, "_run", breaks)
        folder = small("criterion: [l1]")
    (row,) = rows(folder)
    assert (row["status"], row["reason"]) == ("failed", "unpruned, seed0: base is broken.")
    small("criterion: [l1]")
    assert rows(folder)[0]["status"] == "done"


def test_a_half_written_or_damaged_record_counts_as_not_done(small):
    folder = small("criterion: [l1]")
    (before,) = rows(folder)
    (record,) = folder.glob("runs/*/outcome.json")
    record.write_bytes(record.read_bytes()[:40])
    (folder / ".partial-left").write_text("half")
    small("criterion: [l1]")
    (after,) = rows(folder)
    for one in (before, after):
        one.update(seconds="", energy_kwh="")
    assert after == before
    assert not (folder / ".partial-left").exists()


def test_results_of_another_version_are_said_and_done_again(small, capsys):
    folder = small("criterion: [l1]")
    (record,) = folder.glob("runs/*/outcome.json")
    said = json.loads(record.read_text())
    record.write_text(json.dumps({**said, "coppice_version": "0.0.9"}))
    capsys.readouterr()
    table = (folder / "results.csv").read_text().replace(f",{__version__},", ",0.0.9,")
    (folder / "results.csv").write_text(table)
    assert any("from Coppice 0.0.9: 1 of 1 runs" in remark for remark in read_study(folder).remarks)
    small("criterion: [l1]")
    assert f"1 run from Coppice 0.0.9: done again, as this is {__version__}" in " ".join(
        capsys.readouterr().err.split()
    )
    assert rows(folder)[0]["coppice_version"] == __version__


def test_a_worker_of_another_version_refuses(small, monkeypatch):
    monkeypatch.setattr(tasks, "__version__", "0.0.9")
    folder = small("criterion: [l1]")
    assert f"has Coppice 0.0.9 and the study is run by {__version__}." in rows(folder)[0]["reason"]


def test_a_second_study_in_a_folder_is_refused(small, tmp_path):
    (tmp_path / "small").mkdir()
    with FileLock(tmp_path / "small" / ".lock"), pytest.raises(CoppiceError, match="another process is working in"):
        small("criterion: [l1]")


def test_a_folder_of_something_else_is_refused(small, tmp_path):
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "mine.txt").write_text("keep")
    with pytest.raises(CoppiceError, match="holds something else than a study"):
        small("criterion: [l1]")
    (tmp_path / "small" / "study.json").write_text('{"kind": "sensitivity"}')
    with pytest.raises(CoppiceError, match="holds something else than a study"):
        small("criterion: [l1]")
    assert sorted(path.name for path in (tmp_path / "small").iterdir()) == ["mine.txt", "study.json"]


@pytest.mark.parametrize(
    ("axes", "sentence"),
    [
        (
            "criterion: [l1, l12]",
            "point criterion=l12 fraction=0: system 'pruned', step 1 (prune): there is no criterion",
        ),
        ("layers: [[conv1], [con2]]", "point layers=con2 fraction=0: system 'pruned', step 1 (prune)"),
        ("network.widths: [[3, 4, 4], [3, 4]]", "point network.widths=3+4 fraction=0: "),
        ("fold: [1, 9]", "there is no fold 9; 'synthetic' has 1, 2, 3, 4, 5."),
        ("finetune.epochs: [1, 2]", "is the same run as finetune.epochs=1 fraction=0, seed0; exclude one of them."),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_trained(small, tmp_path, axes, sentence):
    with pytest.raises(CoppiceError) as caught:
        small(axes)
    assert sentence in str(caught.value)
    assert not (tmp_path / "small").exists()


def test_axes_that_change_the_training_have_trainings_of_their_own(small):
    folder = small("training.learning_rate: [0.001, 0.01]")
    assert len({path.name for path in (folder / "base").glob("seed0-*")}) == 2
    assert len({row["base_log_loss"] for row in rows(folder)}) == 2


def test_number_formats_share_a_training_and_differ_in_bytes(small):
    folder = small("precision: [null, float16]")
    full, half = rows(folder)
    assert [path.name for path in (folder / "base").iterdir()] == ["seed0"]
    assert int(full["size_bytes"]) == 2 * int(half["size_bytes"])
    assert full["base_size_bytes"] == half["base_size_bytes"]


def test_without_steps_a_point_is_an_unpruned_network(small, tmp_path, capsys):
    path = tmp_path / "shapes.yaml"
    changes = "set: {systems: {}, headline: null}"
    recipe = (tmp_path / "tiny.yaml").write_text(RECIPE) and "tiny.yaml"
    path.write_text(f"name: shapes\nrecipe: {recipe}\n{changes}\naxes: {{network.dense: [4, 6], fold: [1]}}\n")
    folder = run_study(path, out=tmp_path / "study")
    assert "unpruned networks to be trained first" not in capsys.readouterr().err
    assert not (folder / "base").exists()
    small_, large = rows(folder)
    for row, dense in ((small_, 4), (large, 6)):
        scores, cost = stage_scores(folder / row["run"] / "train")
        assert (float(row["accuracy"]), float(row["log_loss"])) == (scores["accuracy"], scores["log_loss"])
        assert (int(row["params_total"]), row["axis.network.dense"]) == (cost["params_total"], str(dense))
        assert (row["base_accuracy"], row["finetune_clips"], row["finetune_macs"]) == ("", "0", "0")
        assert float(row["seconds"]) > 0
    assert int(small_["params_total"]) < int(large["params_total"])
    assert "2 points, measured in 2 runs" in (folder / "study.html").read_text()
    run_study(path, out=folder)
    assert "done already: 2" in capsys.readouterr().err
    found = read_study(folder)
    assert [(point.values["network.dense"], point.done) for point in found.points] == [("4", 1), ("6", 1)]


def test_an_unpruned_network_may_stand_beside_pruned_ones_and_is_trained_once(small):
    folder = small("system: {whole: [], half: [prune: {criterion: l1, ratios: 0.5}]}")
    whole, half = rows(folder)
    assert [path.name for path in (folder / "base").iterdir()] == ["seed0"]
    scores, cost = stage_scores(folder / "base" / "seed0" / "train")
    assert (float(whole["accuracy"]), int(whole["macs"])) == (scores["accuracy"], cost["macs"])
    assert (
        (whole["base_accuracy"], whole["base_macs"])
        == (whole["accuracy"], whole["macs"])
        == (
            half["base_accuracy"],
            half["base_macs"],
        )
    )
    assert int(half["macs"]) < int(whole["macs"])


def test_an_unpruned_point_is_not_taken_for_its_training(small):
    axes = "system: {whole: [], half: [prune: {criterion: l1, ratios: 0.5}]}"
    folder = small(axes)
    before = rows(folder)
    assert before[0]["validation_log_loss"] != ""
    small(axes)
    assert rows(folder) == before
    # As when a process was killed after the training and before the point.
    (lost,) = [path for path in (folder / "runs").iterdir() if before[0]["run"].endswith(path.name)]
    shutil.rmtree(lost)
    small(axes)
    assert lost.is_dir() and rows(folder)[0]["validation_log_loss"] == before[0]["validation_log_loss"]


def test_the_written_study_can_be_run_again_and_is_the_same(small, done, tmp_path):
    again = run_study(done / "study.yaml", out=done)
    assert [row["status"] for row in rows(again)] == ["done"] * 8


def test_jobs_and_a_cluster_exclude_each_other(small, tmp_path):
    with pytest.raises(CoppiceError, match="leave out --jobs"):
        small(jobs=2, cluster="auto")
    with pytest.raises(CoppiceError, match="jobs is 0; give a whole number from 1 upwards"):
        small(jobs=0)


def test_without_ray_a_cluster_is_refused_in_one_sentence(small, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(CoppiceError, match="a cluster needs Ray, which is not installed; pip install 'coppice"):
        small("criterion: [l1]", cluster="auto")


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("127.0.0.1:1", "no Ray cluster answers at '127.0.0.1:1' (Connection refused); give auto, ray://host:10001"),
        ("ray://127.0.0.1:1", "no Ray cluster answers at 'ray://127.0.0.1:1' (Connection refused)"),
        ("127.0.0.1:999999", "no Ray cluster answers at '127.0.0.1:999999'"),
        ("here", "no Ray cluster answers at 'here' (it is not an address)"),
        ("", "no Ray cluster answers at '' (it is not an address)"),
    ],
)
def test_a_cluster_that_does_not_answer_is_one_sentence(monkeypatch, address, sentence):
    monkeypatch.setitem(sys.modules, "ray", object())  # it is not asked
    with pytest.raises(CoppiceError) as caught, connected(address):
        pass
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("wanted", "each", "free", "cores", "jobs", "said"),
    [
        (None, 10, 100, 4, 4, ""),
        (2, 10, 100, 4, 2, ""),
        (8, 10, 100, 4, 4, "4 of the 8 jobs go on side by side: there are 4 cores"),
        (4, 30, 100, 4, 3, "3 of the 4 jobs go on side by side: one takes about 30 B, 100 B are free"),
        (None, 30, 100, 4, 3, "3 runs go on side by side on 4 cores"),
        (2, 300, 100, 4, 1, "memory is short even for one run"),
    ],
)
def test_as_many_runs_go_on_as_cores_and_memory_carry(capsys, wanted, each, free, cores, jobs, said):
    assert jobs_that_fit(wanted, each, free=free, cores=cores) == jobs
    heard = " ".join(capsys.readouterr().err.split())
    assert said in heard
    assert said or not heard


def test_show_prints_every_point_and_json(done):
    command = [sys.executable, "-c", "from coppice.cli.main import main; main()", "study", "show", str(done)]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert "A small study: means over folds and seeds, on test clips" in answer.stdout
    assert "random · half" in answer.stdout
    answer = json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True).stdout)
    names = ["unpruned", *(f"criterion={c} fraction={f}" for c in ("l1", "random") for f in ("without", "half"))]
    assert [point["name"] for point in answer["points"]] == names
    accuracies = [float(row["accuracy"]) for row in rows(done) if row["point"] == names[1]]
    assert answer["points"][1]["accuracy"] == pytest.approx(sum(accuracies) / 2, abs=1e-12)
    assert (answer["points"][0]["runs"], answer["points"][0]["done"], answer["remarks"]) == (2, 2, [])


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        (None, "cannot read the study"),
        ("[]", "is not of a study"),
        ('{"kind": "sensitivity", "version": 1}', "is of a sensitivity, not of a study"),
        ('{"kind": "study", "version": 2}', "is of format 2; this Coppice reads 1."),
    ],
)
def test_what_is_no_study_is_refused(tmp_path, record, sentence):
    if record is not None:
        (tmp_path / "study.json").write_text(record)
    with pytest.raises(CoppiceError) as caught:
        read_study(tmp_path)
    assert sentence in str(caught.value)


def test_the_command_needs_neither_torch_nor_ray_to_read_a_study():
    code = "import sys, coppice.cli.main, coppice.studies.study_file, coppice.studies.found"
    command = [sys.executable, "-c", f"{code}; print({{'torch', 'ray', 'joblib'}} & set(sys.modules))"]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.stdout.strip() == "set()", answer.stderr
