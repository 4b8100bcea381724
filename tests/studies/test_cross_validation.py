import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from coppice.core.errors import CoppiceError
from coppice.datasets.sources import open_dataset
from coppice.recipes.recipe import load_recipe
from coppice.studies.cross_validation import expand, summarise
from coppice.studies.run import run

RECIPE = """\
name: folds
data: {{source: {table!r}}}
folds: all
seeds: [0, 1]
front_end: {{preset: dcase2021, duration_s: 0.3}}
network: {{name: dcase2021, widths: [3, 4, 4], dense: 6}}
training: {{epochs: 2, precision: float32}}
systems:
  thin:
    - prune: {{criterion: l1, keep: {{conv2: 2}}}}
quantize: null
"""
NAMES = [f"fold{fold}-seed{seed}" for fold in (1, 2, 3) for seed in (0, 1)]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    """Three folds of two classes; the first fold has two clips of one recording in each class."""
    root = tmp_path_factory.mktemp("sounds")
    random = np.random.default_rng(0)
    rows = ["filename,label,fold,recording"]
    for label, hertz in (("low", 300), ("high", 3000)):
        for number, fold in enumerate((1, 1, 2, 2, 3)):
            wave = 0.1 * np.sin(2 * np.pi * hertz * np.arange(13230) / 44100) + 0.3 * random.standard_normal(13230)
            soundfile.write(root / f"{label}{number}.wav", 0.5 * wave, 44100)
            rows.append(f"{label}{number}.wav,{label},{fold},{label}{max(number, 1)}")
    (root / "clips.csv").write_text("\n".join(rows) + "\n")
    (root / "recipe.yaml").write_text(RECIPE.format(table=str(root / "clips.csv")))
    return root / "recipe.yaml"


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COPPICE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def study(recipe, tmp_path_factory) -> Path:
    """The study, done by this process."""
    return run(recipe, out=tmp_path_factory.mktemp("study") / "study").parent


@pytest.mark.proof
def test_two_processes_come_to_the_numbers_of_one(study, recipe, tmp_path):
    command = [sys.executable, "-c", "from coppice.cli.main import main; main()", "run", str(recipe)]
    answer = subprocess.run([*command, "--out", str(tmp_path / "two"), "--jobs", "2"], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert "is done (6 of 6)" in answer.stderr
    assert "Traceback" not in answer.stderr
    for name in NAMES:
        for stage in ("train", "systems/thin/1-prune"):
            one, two = (pd.read_csv(folder / name / stage / "predictions.csv") for folder in (study, tmp_path / "two"))
            pd.testing.assert_frame_equal(one, two, atol=1e-5)


def test_every_fold_tests_once_with_every_seed(recipe):
    chosen = load_recipe(recipe)
    singles = expand(chosen, open_dataset(chosen.data.source))
    assert list(singles) == NAMES
    assert all(single.is_single for single in singles.values())
    assert [single.split.test_fold for single in singles.values()] == [1, 1, 2, 2, 3, 3]


def test_a_study_leaves_a_run_for_each_fold_and_seed(study):
    assert sorted(place.name for place in study.iterdir() if place.is_dir()) == NAMES
    assert (study / "report.html").exists()
    assert not list(study.rglob(".lock"))
    summary = json.loads((study / "summary.json").read_text())
    assert [stage["id"] for stage in summary["stages"]] == ["train", "thin/1-prune"]
    tested = pd.concat([pd.read_csv(study / name / "train" / "predictions.csv") for name in NAMES[::2]])["clip_id"]
    assert len(tested) == tested.nunique() == 10


@pytest.mark.proof
def test_one_process_finds_everything_done(study, recipe, capsys):
    before = json.loads((study / "summary.json").read_text())
    run(recipe, out=study)
    err = capsys.readouterr().err
    assert err.count("not done again") == 12
    after = json.loads((study / "summary.json").read_text())
    assert before == after


def tables(study: Path, stage: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Accuracy and log-loss of every clip in rows and seed in columns, computed here from the predictions."""
    parts = []
    for name in NAMES:
        rows = pd.read_csv(study / name / stage / "predictions.csv")
        parts += [
            {
                "clip": row.clip_id,
                "seed": int(name[-1]),
                "right": float(row.p_high >= row.p_low) if row.label == "high" else float(row.p_low > row.p_high),
                "loss": -np.log(max(row.p_high if row.label == "high" else row.p_low, 1e-15)),
            }
            for row in rows.itertuples()
        ]
    table = pd.DataFrame(parts)
    return table.pivot(index="clip", columns="seed", values="right"), table.pivot(
        index="clip", columns="seed", values="loss"
    )


def test_means_and_changes_are_those_of_all_clips_and_seeds(study):
    summary = json.loads((study / "summary.json").read_text())
    stages = {stage["id"]: stage for stage in summary["stages"]}
    base_right, base_loss = tables(study, "train")
    right, loss = tables(study, "systems/thin/1-prune")
    assert base_right.shape == (10, 2)
    assert stages["train"]["accuracy"]["mean"] == pytest.approx(base_right.to_numpy().mean(), abs=1e-12)
    assert stages["train"]["log_loss"]["mean"] == pytest.approx(base_loss.to_numpy().mean(), abs=1e-12)
    assert stages["train"]["accuracy_change"] is None
    change = stages["thin/1-prune"]
    assert change["accuracy_change"]["mean"] == pytest.approx((right - base_right).to_numpy().mean(), abs=1e-12)
    assert change["log_loss_change"]["mean"] == pytest.approx((loss - base_loss).to_numpy().mean(), abs=1e-12)
    assert change["log_loss"]["n"] == 20
    per_fold = [
        [json.loads((study / name / "train" / "metrics.json").read_text())["evaluation"]["test"][key] for name in NAMES]
        for key in ("macro_accuracy", "accuracy")
    ]
    assert stages["train"]["macro_accuracy"]["mean"] == pytest.approx(np.mean(per_fold[0]), abs=1e-12)
    assert [entry["accuracy"] for entry in stages["train"]["per_run"]] == per_fold[1]
    counts = [json.loads((study / n / "train" / "metrics.json").read_text())["complexity"]["macs"] for n in NAMES]
    assert stages["train"]["macs"] == {"mean": np.mean(counts), "min": min(counts), "max": max(counts)}


def test_intervals_are_those_of_recordings_and_seeds_drawn_with_replacement(study):
    summary = json.loads((study / "summary.json").read_text())
    _, base = tables(study, "train")
    _, loss = tables(study, "systems/thin/1-prune")
    values = (loss - base).to_numpy()
    # The clips 0 and 1 of each class are one recording.
    of_clip = [clip.replace("0", "1") for clip in loss.index]
    recordings = [np.flatnonzero(np.array(of_clip) == name) for name in sorted(set(of_clip))]
    assert len(recordings) == 8
    random = np.random.default_rng(7)
    draws = []
    for _ in range(20_000):
        rows = np.concatenate([recordings[place] for place in random.integers(8, size=8)])
        draws.append(values[rows][:, random.integers(2, size=2)].mean())
    found = next(stage for stage in summary["stages"] if stage["id"] == "thin/1-prune")["log_loss_change"]["interval"]
    spread = np.std(draws)
    np.testing.assert_allclose(found, np.percentile(draws, [2.5, 97.5]), atol=0.15 * spread)


def test_a_summary_does_not_depend_on_when_it_is_made(study, recipe):
    summary = json.loads((study / "summary.json").read_text())
    again = summarise(load_recipe(recipe), study, NAMES)
    assert again == summary


def test_energies_are_added_up_over_the_runs_that_were_measured_in_one_way(study, recipe):
    def spent(name, stage):
        return json.loads((study / name / stage / "stage.json").read_text())["energy"]

    summary = json.loads((study / "summary.json").read_text())
    stages = ("train", "systems/thin/1-prune")
    per_stage = [math.fsum(spent(name, stage)["energy_kwh"] for name in NAMES) for stage in stages]
    assert [[one["energy_kwh"] for one in stage["energy"]] for stage in summary["stages"]] == [[n] for n in per_stage]
    (total,) = summary["energy"]
    assert total["energy_kwh"] == pytest.approx(sum(per_stage), rel=1e-12)
    assert total["mode"] == spent(NAMES[0], "train")["mode"]
    single = json.loads((study / NAMES[0] / "summary.json").read_text())["energy"]
    assert [one["energy_kwh"] for one in single] == [
        pytest.approx(sum(spent(NAMES[0], stage)["energy_kwh"] for stage in stages), rel=1e-12)
    ]
    path = study / NAMES[0] / "train" / "stage.json"
    before = path.read_text()
    try:
        record = json.loads(before)
        path.write_text(json.dumps({**record, "energy": {**record["energy"], "mode": "RAPL"}}))
        mixed = summarise(load_recipe(recipe), study, NAMES)
        assert [one["mode"] for one in mixed["energy"]] == ["RAPL", total["mode"]]
        assert mixed["energy"][0]["energy_kwh"] == record["energy"]["energy_kwh"]
        assert [len(stage["energy"]) for stage in mixed["stages"]] == [2, 1]
    finally:
        path.write_text(before)


def test_a_study_without_folds_is_refused(recipe, tmp_path):
    table = Path(recipe).with_name("clips.csv")
    two = pd.read_csv(table)
    two = two[two["fold"] < 3]
    two["filename"] = [str(table.parent / name) for name in two["filename"]]
    two.to_csv(tmp_path / "two.csv", index=False)
    with pytest.raises(CoppiceError, match="has 2 folds; train, validation and test need 3"):
        run(recipe, out=tmp_path / "out", changes=[f"data.source={tmp_path / 'two.csv'}"])
    assert not (tmp_path / "out").exists()


def test_jobs_must_be_at_least_one(recipe, tmp_path):
    with pytest.raises(CoppiceError, match="jobs is 0; give a whole number from 1 upwards"):
        run(recipe, out=tmp_path / "out", jobs=0)
