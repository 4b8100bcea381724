"""``coppice data show`` and ``coppice finetune --teacher``."""

import json
import re

import numpy as np
import pytest
import soundfile

from coppice.networks.checkpoint import load, save


@pytest.fixture
def responses(tmp_path):
    place = tmp_path / "responses"
    place.mkdir()
    soundfile.write(place / "old microphone.wav", np.r_[1.0, np.zeros(20), -0.7], 44100)
    return place


def titles(page):
    specs = json.loads(re.search(r'id="charts">(.*?)</script>', page, re.DOTALL)[1])
    return [chart["spec"]["title"] for chart in specs.values()]


def test_every_augmentation_is_shown_beside_the_plain_clip(coppice, sounds, responses, tmp_path):
    out = tmp_path / "page.html"
    args = ("--augment", "device_ir,gain,time_roll,spec_augment,freq_mixstyle,mixup", "--responses", responses)
    assert coppice("data", "show", sounds, *args, "--duration", "0.5", "--out", out).code == 0
    assert titles(out.read_text()) == [
        "plain", "device_ir: old microphone", "gain: +6 dB", "time_roll: 5 frames", "spec_augment",
        "freq_mixstyle: other levels", "mixup: half of each",
    ]  # fmt: skip
    once = out.read_bytes()
    assert coppice("data", "show", sounds, *args, "--duration", "0.5", "--out", out).code == 0
    assert out.read_bytes() == once


def test_a_recipe_says_front_end_and_strengths(coppice, sounds, tmp_path):
    out = tmp_path / "page.html"
    assert coppice("data", "show", sounds, "--recipe", "dcase2024-baseline", "--out", out).code == 0
    page = out.read_text()
    assert titles(page) == ["plain", "time_roll: 6 frames", "spec_augment", "freq_mixstyle: other levels"]
    assert "256 bands" in page and "65 frames" in page


def test_one_sound_file_shows_what_needs_no_second_one(coppice, sounds, tmp_path):
    out = tmp_path / "page.html"
    assert coppice("data", "show", sounds / "dog" / "0.wav", "--duration", "0.5", "--out", out).code == 0
    assert titles(out.read_text()) == ["plain", "gain: +6 dB", "time_roll: 5 frames", "spec_augment"]


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--augment", "gian"], "there is no augmentation 'gian'. Did you mean 'gain'?"),
        (["--augment", "device_ir"], "device_ir needs a folder of impulse responses; give --responses FOLDER."),
        (["--responses", "nowhere"], "there is no folder of impulse responses 'nowhere'"),
        (["--clip", "15"], "--clip is 15 but there are 15 clips; give 0 to 14."),
        (["--recipe", "demo"], "recipe 'demo' augments nothing in training"),
        (["--recipe", "demo", "--augment", "gain"], "leave out --augment or --recipe"),
        (["--preset", "dcase2022", "--augment", "gain"], "gain cannot be applied with front end 'dcase2022'"),
        (["--preset", "dcase"], "dcase"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_a_sentence(coppice, sounds, tmp_path, args, sentence):
    answer = coppice("data", "show", sounds, *args, "--duration", "0.5", "--out", tmp_path / "p.html")
    assert sentence in answer.sentence
    assert not (tmp_path / "p.html").exists()


def test_a_network_is_finetuned_with_teachers(coppice, trained, sounds, tmp_path):
    args = ("finetune", trained, "--data", sounds, "--epochs", "1", "--out", tmp_path / "taught")
    taught = (*args, "--teacher", trained, "--teacher", trained, "--teacher-weight", "0.9", "--temperature", "3")
    assert coppice(*taught).code == 0
    lineage = load(tmp_path / "taught/checkpoint.safetensors").lineage
    assert lineage[-1]["teacher"]["teachers"] == 2 and lineage[-1]["teacher"]["temperature"] == 3.0
    before = (tmp_path / "taught/stage.json").read_bytes()
    assert coppice(*taught).code == 0
    assert (tmp_path / "taught/stage.json").read_bytes() == before
    assert coppice(*args).code == 0
    assert (tmp_path / "taught/stage.json").read_bytes() != before


def test_a_teacher_of_something_else_is_refused_before_the_clips_are_read(coppice, trained, tmp_path):
    from dataclasses import replace

    known = load(trained)
    other = save(replace(known, labels=("cat", *known.labels[1:])), tmp_path / "other.safetensors")
    args = ("finetune", trained, "--data", tmp_path / "nowhere", "--out", tmp_path / "out", "--teacher")
    assert "teacher and student tell other classes apart: 'cat'" in coppice(*args, other).sentence
    weightless = coppice(*args, trained, "--teacher-weight", "0")
    assert "the teacher's weight is 0.0; give a number above 0" in weightless.sentence
    assert "cannot read the model nowhere.pt" in coppice(*args, "nowhere.pt").sentence


def test_each_device_is_heard_by_its_own_network(coppice, trained, sounds, tmp_path):
    plain = json.loads(coppice("evaluate", trained, "--data", sounds, "--json").out)
    args = ("evaluate", trained, "--data", sounds, "--json", "--device")
    assert json.loads(coppice(*args, f"a={trained}").out) == plain  # these sounds are of no known device
    assert "--device 'a' is not NAME=VALUE" in coppice(*args, "a").sentence
