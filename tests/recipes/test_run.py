import json
import shutil

import pytest
import torch
import yaml
from filelock import FileLock

from coppice.export.onnx_classifier import load_onnx
from coppice.networks.checkpoint import load


@pytest.fixture
def run(whole_run, tiny, forked, cache, tmp_path):
    """Do a recipe again in a copy of a finished run; return the stages that were done, in words, and the answer."""
    shutil.copytree(whole_run, tmp_path / "run")

    def again(*changes):
        argv = ["run", tiny, "--out", "run", *(part for change in changes for part in ("--set", change))]
        answer = forked(*argv, cwd=tmp_path, env={"COPPICE_CACHE": str(cache)})
        lines = [line for line in answer["err"].splitlines() if ": accuracy " in line]
        done = [line.partition(":")[0] for line in lines if "not done again" not in line]
        return done, answer

    again.folder = tmp_path / "run"
    return again


def test_nothing_is_done_twice(run):
    before = (run.folder / "latency.json").read_bytes()
    done, answer = run()
    assert answer["code"] == 0
    assert done == []
    assert (run.folder / "latency.json").read_bytes() == before


def test_a_changed_recipe_does_only_what_depends_on_the_change(run):
    finetune = "{finetune: {epochs: 1, precision: float32}}"
    done, _ = run(f"systems.cosine=[{{prune: {{criterion: cosine_similarity, keep: {{conv2: 4}}}}}}, {finetune}]")
    assert done == ["cosine · fine-tuned", "cosine · float16"]
    done, _ = run("systems.other=[{prune: {criterion: l1, keep: {conv2: 3}}}]", "title=Another", "quantize=null")
    assert done == ["cosine · fine-tuned", "other · pruned"]
    assert not (run.folder / "unpruned").exists()
    done, _ = run("systems={}", "seeds=[1]")
    assert done == ["unpruned", "unpruned, float16"]
    assert not (run.folder / "systems").exists() or not any((run.folder / "systems").iterdir())


def test_what_was_damaged_is_done_again(run, whole_run, results):
    (run.folder / "systems/cosine/1-prune/plan.json").write_text("{}")
    (run.folder / "latency.json").write_text('{"digest": ')
    (run.folder / "summary.json").write_text("[]")
    (run.folder / "report.html").unlink()
    done, answer = run()
    assert answer["code"] == 0, answer
    assert done == ["cosine · pruned"]
    assert results(run.folder) == results(whole_run)
    assert json.loads((run.folder / "latency.json").read_text())["stages"].keys() == {
        "train",
        "cosine/1-prune",
        "cosine/2-finetune",
    }
    assert (run.folder / "report.html").exists()


def test_a_second_process_in_a_run_folder_is_refused(run, results):
    before = results(run.folder)
    with FileLock(run.folder / ".lock"):
        _, answer = run("training.epochs=1")
    assert answer["code"] == 2
    assert answer["err"].splitlines()[-1] == (
        "coppice: another process is working in run; wait for it, or choose another folder with --out."
    )
    assert results(run.folder) == before


def test_the_recipe_in_a_run_folder_repeats_the_run(run, tiny, forked, cache, tmp_path):
    written = yaml.safe_load((run.folder / "recipe.yaml").read_text())
    assert written["training"]["batch_size"] == 32
    answer = forked("run", "run/recipe.yaml", "--out", "run", cwd=tmp_path, env={"COPPICE_CACHE": str(cache)})
    assert answer["code"] == 0
    assert answer["err"].count("not done again") == 5


@pytest.mark.proof
def test_int8_stages_leave_a_file_for_a_runtime_and_its_scores(run):
    done, answer = run("quantize=int8")
    assert answer["code"] == 0, answer
    assert done == ["unpruned, int8", "cosine · int8"]
    for stage in ("unpruned/int8", "systems/cosine/int8"):
        metrics = json.loads((run.folder / stage / "metrics.json").read_text())
        model = run.folder / stage / "model.onnx"
        assert metrics["complexity"]["stored_as"] == "int8"
        assert metrics["complexity"]["file_bytes"] == model.stat().st_size
        assert metrics["quantization"]["calibration_clips"] == 30
        found = load_onnx(model).posteriors(torch.zeros(1, 40, 25))
        expected = load(run.folder / stage / "checkpoint.safetensors").posteriors(torch.zeros(1, 40, 25))
        assert (found - expected).abs().max() < 0.1
    assert "computed in int8" in (run.folder / "report.html").read_text()
    assert run("quantize=int8")[0] == []


def test_other_storage_formats_take_the_place_of_float16(run):
    done, _ = run("quantize=dynamic_int8")
    assert done == ["unpruned, dynamic_int8", "cosine · dynamic_int8"]
    complexity = json.loads((run.folder / "unpruned/dynamic_int8/metrics.json").read_text())["complexity"]
    checkpoint = run.folder / "unpruned/dynamic_int8/checkpoint.safetensors"
    assert complexity["stored_as"] == "dynamic_int8" and load(checkpoint).stored_as == "dynamic_int8"
