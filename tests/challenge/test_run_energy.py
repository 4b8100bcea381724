import json

import pytest
import yaml

from coppice.challenge.people import read_people
from coppice.challenge.rules import rules_of
from coppice.challenge.run_energy import run_energy
from coppice.challenge.submit import source_of, submit
from coppice.core.errors import CoppiceError
from coppice.energy.energy import INFERENCE, Energy
from coppice.recipes.finished import headline_stage, model_of, stages_up_to

STAGES = [
    ("train", None, None, "train"),
    ("unpruned/float16", None, "train", "unpruned/float16"),
    ("l1/1-prune", "l1", "train", "systems/l1/1-prune"),
    ("l1/2-finetune", "l1", "l1/1-prune", "systems/l1/2-finetune"),
]


def spent(kwh, mode="RAPL"):
    return Energy(kwh, kwh / 2, 1.0, mode)


def inference(folder, own, baseline):
    record = {"energy": own.to_dict(), "baseline": baseline and {"energy": baseline.to_dict()}}
    (folder / INFERENCE).write_text(json.dumps(record))


@pytest.fixture
def run(tmp_path):
    """A run whose stages took 1, 2, 4 and 8 kWh; its last one is l1/2-finetune."""
    entries = []
    for number, (name, system, parent, folder) in enumerate(STAGES):
        place = tmp_path / "run" / folder
        place.mkdir(parents=True)
        (place / "stage.json").write_text(json.dumps({"energy": spent(2.0**number).to_dict()}))
        entries.append({"id": name, "system": system, "parent": parent, "folder": folder})
    (tmp_path / "run" / "summary.json").write_text(json.dumps({"headline_system": "l1", "stages": entries}))
    return tmp_path / "run"


@pytest.fixture
def people(authors, tmp_path):
    """Write the authors file with the energies that a test gives; without any, the key is absent."""

    def write(**energies):
        given = yaml.safe_load(authors.read_text())
        del given["energy_consumption"]
        path = tmp_path / "authors.yaml"
        path.write_text(yaml.safe_dump(given | ({"energy_consumption": energies} if energies else {})))
        return path

    return write


def test_training_is_all_that_led_to_the_stage(run):
    assert headline_stage(run) == run / "systems/l1/2-finetune"
    assert run_energy(headline_stage(run)) == {"training": Energy(13.0, 6.5, 3.0, "RAPL")}  # 1 + 4 + 8
    assert run_energy(run / "unpruned/float16")["training"].energy_kwh == 3.0
    assert run_energy(run / "train")["training"].energy_kwh == 1.0


def test_inference_is_what_was_measured_in_the_folder_of_the_stage(run):
    stage = headline_stage(run)
    inference(stage, spent(0.25), spent(0.5))
    found = run_energy(stage)
    assert (found["inference"], found["baseline_inference"]) == (spent(0.25), spent(0.5))
    inference(stage, spent(0.25), None)
    assert set(run_energy(stage)) == {"training", "inference"}
    (stage / INFERENCE).write_text("[]")
    assert set(run_energy(stage)) == {"training"}


@pytest.mark.parametrize("second", [None, spent(1.0, "estimate")])
def test_training_of_which_a_part_is_unknown_or_measured_otherwise_is_not_given(run, second):
    (run / "systems/l1/1-prune/stage.json").write_text(json.dumps({"energy": second and second.to_dict()}))
    assert run_energy(headline_stage(run)) == {}


def test_a_folder_that_is_in_no_run_has_no_energy(tmp_path):
    assert stages_up_to(tmp_path) == []
    assert run_energy(tmp_path) == {}
    with pytest.raises(CoppiceError, match=r"has no checkpoint\.safetensors"):
        model_of(tmp_path)


def test_a_circle_of_parents_ends(run):
    summary = json.loads((run / "summary.json").read_text())
    summary["stages"][0]["parent"] = "l1/2-finetune"
    (run / "summary.json").write_text(json.dumps(summary))
    assert len(stages_up_to(headline_stage(run))) == 3


def test_the_authors_file_overrides_what_the_run_measured(people):
    measured = {"training": spent(13.0), "inference": spent(0.25), "baseline_inference": spent(0.123456789)}
    found = read_people(people(inference=0.07), rules_of("dcase2023"), measured=measured)
    assert found.energy_consumption == {"training": 13.0, "inference": 0.07, "baseline_inference": 0.123457}
    assert found.measured == ("training", "baseline_inference")


def test_what_neither_the_file_nor_the_run_has_is_asked_for(people):
    with pytest.raises(CoppiceError, match=r"lacks energy_consumption\.baseline_inference \(kWh\); only you"):
        read_people(people(inference=0.07), rules_of("dcase2023"), measured={"training": spent(1.0)})


def test_energies_of_two_modes_are_not_submitted_together(people):
    measured = {"training": spent(1.0), "inference": spent(1.0, "estimate"), "baseline_inference": spent(1, "estimate")}
    with pytest.raises(
        CoppiceError, match=r"training, inference, baseline_inference of the run: energies .*RAPL / est"
    ):
        read_people(people(), rules_of("dcase2023"), measured=measured)
    found = read_people(people(training=0.5), rules_of("dcase2023"), measured=measured)
    assert found.energy_consumption["training"] == 0.5


def test_a_submission_takes_its_energy_from_the_run(run, sources, people, clip_list, tmp_path):
    made = sources(tmp_path, 2023, ())[0]
    stage = headline_stage(run)
    for file in (made.model, made.development):
        file.rename(stage / file.name)
    inference(stage, spent(0.00001), spent(0.00002))
    source = source_of(run, made.evaluation)
    found = submit(source, rules="dcase2023", authors=people(training=0.5), out=tmp_path / "p", clips=clip_list)
    assert found.validation.valid
    (path,) = found.folder.rglob("*.meta.yaml")
    energy = yaml.safe_load(path.read_text())["system"]["energy_consumption"]
    assert energy == {"training": 0.5, "inference": 1e-05, "baseline_inference": 2e-05}
    assert set(found.energy) == {"inference", "baseline_inference"}
