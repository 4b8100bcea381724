"""Runs and studies in which no clips validate: all but the test's train, and nothing is chosen."""

import csv
import json

import pytest
import yaml

import coppice as cp
from coppice.audio.front_end import front_end
from coppice.core.errors import CoppiceError
from coppice.studies.engine import run_study
from coppice.studies.search import search_study
from small_recipe import small_recipe

LAST = "epochs: 2, choose: last"


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A recipe in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COPPICE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "r.yaml").write_text(small_recipe(name="small", fit=LAST) + "split: {validation_fraction: 0}\n")
    return tmp_path / "r.yaml"


@pytest.fixture
def study(recipe):
    def write(**more):
        said = {"name": "two", "recipe": "r.yaml", "axes": {"criterion": ["l1", "l2"]}, **more}
        recipe.with_name("s.yaml").write_text(yaml.safe_dump(said))
        return recipe.with_name("s.yaml")

    return write


def test_a_run_has_test_scores_alone_and_its_report_says_how_it_was_split(recipe, tmp_path):
    folder = cp.run(recipe, out=tmp_path / "run").parent
    for stage in ("train", "systems/thin/1-prune", "systems/thin/2-finetune"):
        metrics = json.loads((folder / stage / "metrics.json").read_text())
        assert [*metrics["evaluation"]] == ["test"]
    assert metrics["training"]["clips"] == 40  # of 50; ten test
    assert metrics["training"]["macs_spent"] == 2 * 3 * 40 * metrics["complexity"]["macs"]
    history = list(csv.DictReader((folder / "train/history.csv").open()))
    assert [row["validation_log_loss"] for row in history] == ["", ""]
    page = (folder / "report.html").read_text()
    assert "none validates" in page
    assert "on training clips per epoch" in page and "on training and validation clips" not in page


def test_a_study_leaves_the_columns_of_validation_empty(study, tmp_path):
    folder = run_study(study(), out=tmp_path / "study")
    rows = list(csv.DictReader((folder / "results.csv").open()))
    assert [row["status"] for row in rows] == ["done", "done"]
    assert {(row["validation_accuracy"], row["validation_log_loss"]) for row in rows} == {("", "")}
    assert all(float(row["accuracy"]) >= 0 for row in rows) and (folder / "study.html").exists()


@pytest.mark.parametrize("place", ["training", "systems.thin"])
def test_a_fit_that_chooses_by_validation_clips_is_refused_before_it_begins(recipe, place):
    recipe.write_text(recipe.read_text().replace(LAST, "epochs: 2", 1 if place == "training" else -1))
    if place == "systems.thin":
        recipe.write_text(recipe.read_text().replace("epochs: 2", LAST, 1))
    name = "training" if place == "training" else "system 'thin'"
    with pytest.raises(CoppiceError, match=f"{name}: no clips validate, but choose is 'log_loss'"):
        cp.load_recipe(recipe)


def test_what_is_judged_by_validation_clips_is_refused(recipe, study, tmp_path):
    ears, split = front_end("dcase2021", duration_s=0.5), {"validation_fraction": 0}
    data = cp.prepare("synthetic", clips_per_class=5, duration_s=0.5, front_end=ears, split=split)
    with pytest.raises(
        CoppiceError, match=r"no clips validate \(fold 5 tests, none validates\), .*give a validation_fraction above 0"
    ):
        data.clips("validation")
    searched = study(axes={"seed": [0]}, search={"ratios": {"conv1": [0, 0.5]}, "objectives": ["log_loss", "macs"]})
    with pytest.raises(CoppiceError, match=r"split\.validation_fraction is 0, and a search judges by validation clips"):
        search_study(searched, trials=2, out=tmp_path / "search")
    with pytest.raises(CoppiceError, match="ensembles are scored on validation clips"):
        run_study(study(ensembles={"named": {"both": ["l1", "l2"]}}), out=tmp_path / "together")
