import json
import shutil

import pytest


@pytest.fixture
def stage(trained, tmp_path):
    folder = tmp_path / "train"
    shutil.copytree(trained.parent, folder)
    return folder


def test_energy_of_a_stage_is_kept_in_its_folder_with_the_baselines(coppice, sounds, stage):
    answer = coppice("energy", stage, "--data", sounds, "--clips", "6", "--seconds", "0.05", "--baseline")
    assert answer.code == 0, answer
    record = json.loads((stage / "inference_energy.json").read_text())
    assert (record["clips"], record["baseline"]["clips"]) == (6, 6)
    assert record["energy"]["energy_kwh"] > 0
    assert record["energy"]["mode"] in " ".join(answer.out.split())
    assert "DCASE Task 1 2022/2023 baseline" in answer.out
    assert "recorded in" in answer.out


def test_energy_of_a_file_is_printed_alone(coppice, sounds, trained):
    answer = coppice("energy", trained, "--data", sounds, "--clips", "3", "--seconds", "0.05", "--json")
    record = json.loads(answer.out)
    assert (record["clips"], record["baseline"]) == (3, None)
    assert record["heard_s"] == 0.5
    assert not (trained.parent / "inference_energy.json").exists()


def test_what_cannot_be_measured_is_one_sentence(coppice, sounds, stage, tmp_path, monkeypatch):
    assert "give the folder of a run" in coppice("energy", tmp_path, "--data", sounds).sentence
    assert "at_least_s is 0.0" in coppice("energy", stage, "--data", sounds, "--seconds", "0").sentence
    assert "number of clips is 0" in coppice("energy", stage, "--data", sounds, "--clips", "0").sentence
    monkeypatch.setenv("COPPICE_POWER_W", "much")
    assert "COPPICE_POWER_W is 'much'" in coppice("energy", stage, "--data", sounds).sentence
    assert not (stage / "inference_energy.json").exists()


def test_training_says_what_it_took(trained):
    energy = json.loads((trained.parent / "stage.json").read_text())["energy"]
    assert energy["energy_kwh"] > 0
    assert energy["assumptions"]
