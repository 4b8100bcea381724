"""Ensembles of the runs of a study: scored from what the runs left, chosen on validation clips."""

import csv
import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import coppice as cp
import coppice.evaluation.evaluate as evaluate
import coppice.recipes.run as recipes_run
import coppice.studies.engine as engine
import coppice.studies.ensembles as ensembles
import coppice.studies.tasks as tasks
from coppice.core.errors import CoppiceError
from coppice.networks.checkpoint import load
from coppice.recipes.material import open_material
from coppice.recipes.recipe import load_recipe
from coppice.reports import study_page
from coppice.reports.study_page import write_study_page
from coppice.reports.study_pairs import comparisons
from coppice.reports.study_points import study_points, units_of
from coppice.reports.study_records import read_study
from coppice.studies.engine import run_study

STUDY = """\
name: mine
recipe:
  data: {source: synthetic, synthetic: {clips_per_class: 5, duration_s: 0.5}}
  front_end: {preset: dcase2021, duration_s: 0.5}
  network: {name: dcase2021, widths: [3, 4, 4], dense: 6}
  training: {epochs: 1, precision: float32}
  quantize: null
system:
  - prune: {criterion: l1}
  - finetune: {epochs: 1, precision: float32}
axes:
  keep: {A: {conv1: 2}, B: {conv2: 2}, C: {conv3: 2}}
  fraction: [0, 1]
  fold: [1]
ensembles:
  axis: keep
  named: {whole: all}
  leave_one_out: true
  best: {sizes: [1, 2]}
"""
NAMES = ("whole", "all but A", "all but B", "all but C", "best 1", "best 2")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "mine.yaml"
    path.write_text(STUDY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COPPICE_CACHE", str(path.parent / "cache"))
        patch.setattr(engine, "in_processes", lambda given, jobs: ((task, tasks.do_task(task)) for task in given))
        patch.setattr(recipes_run, "write_report", lambda folder: folder / "report.html")
        patch.setattr(evaluate, "RESAMPLES", 20)
        patch.setattr(engine, "write_study_page", lambda folder: folder / "study.html")
        yield path


@pytest.fixture(scope="module")
def done(file) -> Path:
    return run_study(file, out=file.parent / "study")


def rows(folder):
    with (folder / "results.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


def members(folder, row):
    """Return the rows of the members of an ensemble."""
    same = ("axis.fraction", "fold", "seed")
    names = row["members"].split(" + ")
    found = [one for one in rows(folder) if not one["members"] and all(one[key] == row[key] for key in same)]
    return [one for one in found if one["axis.keep"] in names]


def last_stage(folder, row):
    return folder / row["run"] / "systems" / "pruned" / ("2-finetune" if row["axis.fraction"] == "1" else "1-prune")


def heard(stage):
    """Return the posteriors of the test clips, and the right classes."""
    table = pd.read_csv(stage / "predictions.csv")
    names = [name for name in table if name.startswith("p_")]
    return table[names].to_numpy(), np.array([names.index(f"p_{label}") for label in table["label"]])


def scores(posteriors, right):
    hits = posteriors.argmax(axis=1) == right
    macro = np.mean([hits[right == each].mean() for each in np.unique(right)])
    return hits.mean(), macro, -np.log(posteriors[np.arange(len(right)), right]).mean()


def test_there_is_a_row_for_each_ensemble_place_fold_and_seed(done):
    found = [row for row in rows(done) if row["members"]]
    places = [*itertools.product(NAMES, ("0", "1"), "1")]
    assert [(row["axis.keep"], row["axis.fraction"], row["fold"]) for row in found] == places
    assert [row["point"] for row in found[:2]] == ["ensemble=whole fraction=0", "ensemble=whole fraction=1"]
    assert {row["status"] for row in found} == {"done"}
    for row in found[:8]:
        wanted = {"whole": "A + B + C", "all but A": "B + C", "all but B": "A + C", "all but C": "A + B"}
        assert row["members"] == wanted[row["axis.keep"]]
    said = json.loads((done / "study.json").read_text())
    sizes = {"best 1": 1, "best 2": 2}
    assert said["ensembles"] == {name: {"axis": "keep", "size": sizes.get(name)} for name in NAMES}
    assert said["counts"] == {"done": 18, "failed": 0, "waiting": 0}


def test_the_score_is_that_of_the_mean_of_what_members_said_of_the_test_clips(done):
    for row in rows(done):
        if row["members"]:
            each = [heard(last_stage(done, member)) for member in members(done, row)]
            mean = sum(posteriors for posteriors, _ in each) / len(each)
            found = [float(row[name]) for name in ("accuracy", "macro_accuracy", "log_loss")]
            assert found == pytest.approx(scores(mean, each[0][1]), rel=1e-9)
            assert int(row["clips"]) == len(mean)
            stored, _ = heard(done / row["run"])
            assert stored == pytest.approx(mean, abs=1e-12)


@pytest.fixture(scope="module")
def on_validation(done):
    """Return for each run the posteriors of its validation clips, and the right classes."""
    found = {}
    for row in rows(done):
        if not row["members"]:
            data = open_material(load_recipe(done / row["run"] / "recipe.yaml"))
            posteriors = load(last_stage(done, row) / "checkpoint.safetensors").posteriors(data.log_mel("validation"))
            found[row["run"]] = posteriors.numpy(), data.targets("validation").numpy()
    return found


def test_validation_scores_are_those_of_the_mean_on_the_validation_clips(done, on_validation):
    for row in rows(done):
        if row["members"]:
            each = [on_validation[member["run"]] for member in members(done, row)]
            accuracy, _, loss = scores(sum(one for one, _ in each) / len(each), each[0][1])
            assert float(row["validation_accuracy"]) == pytest.approx(accuracy)
            assert float(row["validation_log_loss"]) == pytest.approx(loss, rel=1e-9)


def test_the_best_have_the_lowest_log_loss_on_the_validation_clips_of_all_of_their_number(done, on_validation):
    everything = rows(done)
    for row in everything:
        if row["axis.keep"] in ("best 1", "best 2"):
            alike = [
                one
                for one in everything
                if not one["members"] and all(one[key] == row[key] for key in ("axis.fraction", "fold"))
            ]
            losses = {}
            for some in itertools.combinations(alike, int(row["axis.keep"][-1])):
                each = [on_validation[one["run"]] for one in some]
                mean = sum(one for one, _ in each) / len(each)
                losses[" + ".join(one["axis.keep"] for one in some)] = scores(mean, each[0][1])[2]
            assert row["members"] == min(losses, key=losses.__getitem__)


def test_the_best_one_is_a_run_with_all_that_it_has(done):
    for row in rows(done):
        if row["axis.keep"] == "best 1":
            (only,) = members(done, row)
            for name in ("accuracy", "log_loss", "macs", "params_total", "params_bn_folded", "size_bytes", "clips"):
                assert float(row[name]) == pytest.approx(float(only[name]))
            for name in ("validation_accuracy", "validation_log_loss", "seconds", "finetune_clips", "base_log_loss"):
                assert float(row[name]) == pytest.approx(float(only[name]))


def test_costs_add_up_and_what_members_have_in_common_counts_once(done):
    for row in rows(done):
        if row["axis.keep"] == "whole":
            own = members(done, row)
            sums = {name: sum(int(one[name]) for one in own) for name in ("params_total", "macs", "size_bytes")}
            fits = ("finetune_seconds", "finetune_epochs", "finetune_clips_seen", "finetune_macs")
            for name in ("seconds", "energy_kwh", *fits):
                assert float(row[name]) == pytest.approx(sum(float(one[name]) for one in own))
            if row["axis.fraction"] == "1":  # fine-tuned, they differ everywhere
                assert {name: int(row[name]) for name in sums} == sums
                assert int(row["params_bn_folded"]) == sum(int(one["params_bn_folded"]) for one in own)
                continue
            nets = {one["axis.keep"]: load(last_stage(done, one) / "checkpoint.safetensors") for one in own}
            together = cp.profile(cp.ensemble(nets), latency=False)
            assert int(row["params_total"]) == together.params_total < sums["params_total"]
            assert int(row["macs"]) == together.macs < sums["macs"]
            assert int(row["size_bytes"]) == sums["size_bytes"] - 4 * (sums["params_total"] - together.params_total)
            assert row["params_bn_folded"] == ""


def test_what_stands_is_not_done_again_and_what_is_lost_is(done, file, monkeypatch):
    before = (done / "results.csv").read_bytes()
    monkeypatch.setattr(tasks, "_run", lambda task, jobs: pytest.fail("a run was done again"))
    scored = []
    original = ensembles.record
    monkeypatch.setattr(ensembles, "record", lambda task, end: scored.append(task.name) or original(task, end))
    run_study(file, out=done)
    assert scored == []
    row = next(row for row in rows(done) if row["axis.keep"] == "best 2")
    (done / row["run"] / "outcome.json").write_text("{")
    run_study(file, out=done)
    assert scored == ["ensemble=best 2 fraction=0, fold1-seed0"]
    assert (done / "results.csv").read_bytes() == before


def test_the_page_shows_ensembles_among_the_points_and_against_single_networks(done, monkeypatch):
    record = read_study(done)
    assert record.axes["keep"] == ("A", "B", "C")
    assert record.ensembles == {"keep": NAMES}
    points = study_points(record).frame
    assert points.loc[points["ensemble"].astype(bool), "point"].str.startswith("ensemble=").all()
    assert points["ensemble"].sum() == 12
    found = comparisons(record, units_of(record))
    several = [name for name in NAMES if name != "best 1"]
    chosen, _, first = found[:3]
    assert (chosen.axis, [(pair.first, pair.second) for pair in chosen.pairs]) == (
        "ensemble and chosen one",
        [(name, "best 1") for name in several],
    )
    assert (first.axis, first.where, first.score.name) == ("ensemble", None, "accuracy")
    pairs = {(pair.first, pair.second): pair for pair in first.pairs}
    assert set(pairs) == set(itertools.product(several, "ABC"))
    accuracy = {(row["axis.keep"], row["axis.fraction"]): float(row["accuracy"]) for row in rows(done)}
    by_hand = np.mean([accuracy["whole", fraction] - accuracy["B", fraction] for fraction in "01"])
    assert pairs["whole", "B"].test.mean == pytest.approx(by_hand)
    assert pairs["whole", "B"].runs == 2
    (keep,) = [one for one in found if one.axis == "keep" and one.where is None and one.score is first.score]
    assert [(pair.first, pair.second) for pair in keep.pairs] == [("A", "B"), ("A", "C"), ("B", "C")]
    monkeypatch.setattr(study_page, "MOST_PDF", 0)
    text = write_study_page(done).read_text()
    assert "6 points, measured in 6 runs, and 12 ensembles of them." in text
    assert "ensemble=best 2 fraction=1" in text


@pytest.fixture
def copy(done, tmp_path):
    shutil.copytree(done, tmp_path / "copy")
    for outcome in tmp_path.glob("copy/ensembles/*/outcome.json"):
        outcome.unlink()
    return tmp_path / "copy"


def test_an_ensemble_that_lacks_a_member_fails_with_its_reason_and_is_tried_again(
    copy, done, file, monkeypatch, capsys
):
    def breaks(task, jobs):
        raise CoppiceError("no luck.")

    lost = next(row for row in rows(copy) if row["point"] == "keep=B fraction=0")
    before = (copy / lost["run"] / "outcome.json").read_bytes()
    (copy / lost["run"] / "outcome.json").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(tasks, "_run", breaks)
        run_study(file, out=copy)
    ends = {row["point"]: (row["status"], row["reason"]) for row in rows(copy)}
    for name in ("whole", "all but A", "all but C", "best 1", "best 2"):
        assert ends[f"ensemble={name} fraction=0"] == ("failed", "member B: no luck.")
    assert ends["ensemble=all but B fraction=0"] == ends["ensemble=whole fraction=1"] == ("done", "")
    assert "failed: ensemble=all but A fraction=0" in capsys.readouterr().err
    assert "5 of 12 ensembles failed; each is listed with its reason, and none is in a mean." in read_study(copy).notes
    (copy / lost["run"] / "outcome.json").write_bytes(before)
    run_study(file, out=copy)
    assert (copy / "results.csv").read_bytes() == (done / "results.csv").read_bytes()


def test_members_that_heard_other_clips_make_no_ensemble(copy, file):
    row = next(row for row in rows(copy) if row["point"] == "keep=C fraction=0")
    path = last_stage(copy, row) / "predictions.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    run_study(file, out=copy)
    ends = {row["point"]: (row["status"], row["reason"]) for row in rows(copy)}
    said = "C has posteriors of 9 clips and A of 10; give those of the same clips."
    assert ends["ensemble=all but A fraction=0"] == ("failed", said)
    assert ends["ensemble=all but A fraction=1"] == ("done", "")
