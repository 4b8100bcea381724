"""What a row of the results takes from the records of a run folder."""

import json

import pytest

from coppice.energy.energy import Energy
from coppice.studies.scores import point_scores

SCORES = {"accuracy": 0.5, "macro_accuracy": 0.5, "log_loss": 1.0, "clips": 10}
COST = {"params_total": 9, "params_bn_folded": 8, "macs": 1000, "stored_as": "float32", "size_bytes_float32": 36}


@pytest.fixture
def run(tmp_path):
    """A run with two cuts and a fit behind each, on 8 and then 4 clips."""
    stages = []

    def stage(name, kind, seconds, training=None, spent_s=None):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        metrics = {"evaluation": {"test": SCORES, "validation": SCORES}, "complexity": COST}
        if training is not None:
            metrics["training"] = training
        (folder / "metrics.json").write_text(json.dumps(metrics))
        energy = None if spent_s is None else Energy(0.1, 0.1, spent_s, "estimate").to_dict()
        (folder / "stage.json").write_text(json.dumps({"seconds": seconds, "energy": energy}))
        stages.append({"folder": name, "kind": kind, "system": None if kind == "train" else "pruned"})

    stage("train", "train", 100.0, {"epochs": 50, "clips": 8, "macs_spent": 10**9})
    stage("1-prune", "prune", 1.0)
    stage("2-finetune", "finetune", 20.0, {"epochs": 3, "clips": 8, "macs_spent": 70_000}, spent_s=20.0)
    stage("3-prune", "prune", 1.0)
    stage("4-finetune", "finetune", 5.0, {"epochs": 7, "clips": 4, "macs_spent": 9_000}, spent_s=65.5)  # interrupted
    (tmp_path / "summary.json").write_text(json.dumps({"stages": stages}))
    return tmp_path


def test_what_fits_took_is_summed_over_all_of_them_and_without_the_training(run):
    found = point_scores(run)
    assert {name: found[name] for name in found if name.startswith("finetune_")} == {
        "finetune_seconds": 85.5,
        "finetune_epochs": 10,
        "finetune_clips": 8,
        "finetune_clips_seen": 3 * 8 + 7 * 4,
        "finetune_macs": 79_000,
    }
    assert found["seconds"] == 87.5


def test_fits_from_before_macs_were_counted_leave_that_cell_empty(run):
    path = run / "2-finetune" / "metrics.json"
    metrics = json.loads(path.read_text())
    del metrics["training"]["macs_spent"]
    path.write_text(json.dumps(metrics))
    found = point_scores(run)
    assert (found["finetune_macs"], found["finetune_clips_seen"]) == (None, 52)
