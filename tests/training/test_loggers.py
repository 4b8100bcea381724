import csv
import json
import struct
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

import coppice.training.loggers as loggers
from coppice.core.errors import CoppiceError
from coppice.recipes.recipe import load_recipe
from coppice.recipes.run import run_single
from coppice.studies.grid import identity
from small_recipe import small_recipe


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same run without and with a logger."""
    place = tmp_path_factory.mktemp("runs")
    (place / "r.yaml").write_text(small_recipe(name="small", fit="epochs: 2"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COPPICE_CACHE", str(place / "cache"))
        patch.setattr("coppice.recipes.run.write_report", lambda folder: folder / "report.html")
        for name, changes in (("plain", []), ("logged", ["loggers=[tensorboard]"])):
            run_single(load_recipe(place / "r.yaml", changes=changes), place / name)
    return place


def scalars(folder: Path) -> dict[tuple[str, int], float]:
    """Read an event file by its format: length, checksum, record, checksum."""
    (file,) = folder.glob("events.out.*")
    data, found = file.read_bytes(), {}
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event = Event.FromString(data[12 : 12 + length])
        found |= {(one.tag, event.step): one.simple_value for one in event.summary.value}
        data = data[16 + length :]
    return found


@pytest.mark.parametrize("stage, log", [("train", "train"), ("systems/thin/2-finetune", "thin-2-finetune")])
def test_tensorboard_gets_what_the_history_has(runs, stage, log):
    with (runs / "logged" / stage / "history.csv").open() as file:
        history = list(csv.DictReader(file))
    found = scalars(runs / "logged" / "logs" / "tensorboard" / log)
    assert {epoch for tag, epoch in found if tag == "validation_log_loss"} == set(range(len(history)))
    for row in history:
        for name in ("train_log_loss", "validation_log_loss", "validation_accuracy"):
            assert found[name, int(row["epoch"])] == pytest.approx(float(row[name]), rel=1e-6)
        assert found["lr-Adam", int(row["epoch"])] == pytest.approx(float(row["learning_rate"]), rel=1e-6)


@pytest.mark.parametrize("stage", ["train", "systems/thin/2-finetune"])
def test_a_logger_changes_no_number(runs, stage):
    plain, logged = (runs / name / stage / "checkpoint.safetensors" for name in ("plain", "logged"))
    assert plain.read_bytes() == logged.read_bytes()


def test_a_logger_is_no_reason_to_do_a_run_again(runs):
    plain, logged = (load_recipe(runs / "r.yaml", changes=more) for more in ([], ["loggers=[tensorboard]"]))
    assert identity(plain, "clips") == identity(logged, "clips")
    digests = [json.loads((runs / name / "train" / "stage.json").read_text())["digest"] for name in ("plain", "logged")]
    assert digests[0] == digests[1]


def test_a_missing_package_is_one_sentence_before_anything_is_done(tmp_path, monkeypatch):
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    (tmp_path / "r.yaml").write_text(small_recipe(name="small", fit="epochs: 2"))
    with pytest.raises(CoppiceError, match=r"loggers names wandb, which is not installed; pip install 'coppice\[wandb"):
        run_single(load_recipe(tmp_path / "r.yaml", changes=["loggers=[wandb]"]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_unknown_logger_is_refused_with_those_that_are_known(tmp_path):
    (tmp_path / "r.yaml").write_text(small_recipe(name="small", fit="epochs: 2"))
    with pytest.raises(CoppiceError, match="'tensorboard', 'mlflow' or 'wandb'"):
        load_recipe(tmp_path / "r.yaml", changes=["loggers=[neptune]"])


def test_a_logger_that_does_not_open_is_one_sentence(tmp_path, monkeypatch):
    def closed(*_):
        raise ConnectionError("no server\nat that address")

    monkeypatch.setitem(loggers._OPENED, "tensorboard", closed)
    said = r"the logger tensorboard does not open \(no server at that address\)"
    with (
        pytest.raises(CoppiceError, match=said),
        loggers.open_loggers(["tensorboard"], tmp_path, project="p", stage="train"),
    ):
        pass


def test_mlflow_keeps_its_database_beside_the_run(tmp_path):
    client = pytest.importorskip("mlflow.tracking", reason="the extra mlflow is not installed")
    with loggers.open_loggers(["mlflow"], tmp_path, project="esc10", stage="train") as (logger,):
        logger.log_metrics({"validation_log_loss": 0.5}, step=0)
    found = client.MlflowClient(f"sqlite:///{tmp_path}/mlflow/mlflow.db")
    (run,) = found.search_runs([found.get_experiment_by_name("esc10").experiment_id])
    assert (run.info.run_name, run.info.status) == ("train", "FINISHED")
    assert run.data.metrics == {"validation_log_loss": 0.5}


def test_weights_and_biases_stays_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with loggers.open_loggers(["wandb"], tmp_path, project="esc10", stage="train") as (logger,):
        logger.log_metrics({"validation_log_loss": 0.5}, step=0)
    assert list(tmp_path.glob("wandb/wandb/offline-run-*/run-*.wandb"))
