import csv
import io
import json
import sys

import numpy as np
import pytest
import soundfile

from quick import quick


@pytest.fixture
def silent(tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(22050), 44100)
    return tmp_path / "silent.wav"


@pytest.fixture
def listed(monkeypatch):
    def give(data: bytes):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return give


@pytest.mark.parametrize(("suffix", "subtype"), [(".wav", "PCM_24"), (".flac", None), (".ogg", None), (".mp3", None)])
def test_classify_hears_stereo_at_48_khz(coppice, trained, sounds, tmp_path, suffix, subtype):
    wave, rate = soundfile.read(sounds / "rain" / "0.wav")
    time = np.arange(round(1.3 * 48000)) / 48000
    stereo = np.stack([np.interp(time % 0.5, np.arange(len(wave)) / rate, wave)] * 2, axis=1)
    path = tmp_path / f"klang [x] ü{suffix}"
    soundfile.write(path, stereo, 48000, subtype=subtype)
    answer = coppice("classify", path, sounds / "dog" / "1.wav", "--model", trained, "--json")
    heard, _ = json.loads(answer.out)
    assert heard["windows"] == 3
    assert set(heard["posteriors"]) == {"dog", "rain", "saw"}
    assert heard["remarks"] == ["resampled from 48000 Hz to 44100 Hz"]
    assert "per_window" not in heard
    answer = coppice("classify", path, "--model", trained)
    assert answer.code == 0
    assert "[x]" in answer.out.replace("\n", "")
    assert answer.err == f"{path}: resampled from 48000 Hz to 44100 Hz\n"


def test_files_folders_and_a_list_on_standard_input_are_heard_in_order(coppice, trained, sounds, listed):
    listed(f"{sounds / 'saw'}\r\n\n{sounds / 'dog' / '1.wav'}\n".encode())
    answer = coppice("classify", sounds / "rain" / "0.wav", "-", "--model", trained, "--json")
    heard = [one["file"] for one in json.loads(answer.out)]
    saws = [str(sounds / "saw" / f"{number}.wav") for number in range(5)]
    assert heard == [str(sounds / "rain" / "0.wav"), *saws, str(sounds / "dog" / "1.wav")]


def test_an_empty_list_is_refused(coppice, trained, listed):
    listed(b"\n")
    said = coppice("classify", "-", "--model", trained).sentence
    assert said == "the list on standard input is empty; write one file or folder in each line."


def test_a_file_that_cannot_be_heard_does_not_end_the_others(coppice, trained, sounds, silent):
    (silent.parent / "words.wav").write_text("these are words")
    files = [silent.parent / "missing.wav", sounds / "dog" / "0.wav", silent.parent / "words.wav", silent]
    answer = coppice("classify", *files, "--model", trained, "--json")
    assert answer.code == 1
    assert [one["file"] for one in json.loads(answer.out)] == [str(files[1]), str(files[3])]
    first, second = answer.err.splitlines()
    assert first == f"coppice: cannot read {files[0]}: no such file or folder."
    assert second.startswith(f"coppice: {files[2]} is not a sound file that can be read")
    answer = coppice("classify", *files, "--model", trained)
    assert answer.code == 1
    assert f"{silent}: silent: every sample is 0, so its class means nothing\n" in answer.err
    assert "Traceback" not in answer.err


def test_no_file_that_can_be_heard_is_a_mistake(coppice, trained, tmp_path):
    (tmp_path / "words.wav").write_text("these are words")
    answer = coppice("classify", tmp_path / "missing.wav", tmp_path / "words.wav", "--model", trained)
    assert answer.code == 2
    assert answer.out == ""
    assert [line.partition(": ")[0] for line in answer.err.splitlines()] == ["coppice", "coppice"]
    assert "missing.wav: no such file or folder." in answer.err
    assert coppice("classify", tmp_path, "--model", trained).sentence.startswith(f"{tmp_path / 'words.wav'} is not a")


def test_windows_with_a_hop_are_shown_and_written(coppice, trained, sounds, tmp_path):
    sound = np.concatenate([soundfile.read(sounds / "dog" / f"{number}.wav")[0] for number in range(3)])
    file = tmp_path / "three.wav"
    soundfile.write(file, sound, 44100, subtype="FLOAT")
    ask = ["classify", file, "--model", trained, "--hop", "0.4", "--windows"]
    (heard,) = json.loads(coppice(*ask, "--json").out)
    assert [one["start_s"] for one in heard["per_window"]] == [0, 0.4, 0.8, 1.0]
    answer = coppice(*ask, "--top", 1)
    assert "windows of" in answer.out
    assert "0.40" in answer.out
    assert max(map(len, answer.out.splitlines())) <= 80
    answer = coppice(*ask, "--csv", tmp_path / "heard.csv")
    assert answer.out == f"{tmp_path / 'heard.csv'}: 1 file\n"
    with (tmp_path / "heard.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [float(row["start_s"]) for row in rows] == [0, 0.4, 0.8, 1.0]
    assert [float(row["p_dog"]) for row in rows] == [one["posteriors"]["dog"] for one in heard["per_window"]]


def test_top_says_how_many_classes_are_shown(coppice, trained, sounds):
    ask = ["classify", sounds / "dog" / "0.wav", "--model", trained]
    assert coppice(*ask, "--top", 2).out.count(" %") == 2
    assert coppice(*ask).out.count(" %") == 3
    assert coppice(*ask, "--top", 0).sentence == "--top is 0; give at least 1."
    assert coppice(*ask, "--hop", 9).sentence.startswith("the hop is 9 s; give more than 0 and at most 0.5")


def test_a_remark_about_many_files_is_one_line(coppice, trained, tmp_path):
    for number in range(5):
        soundfile.write(tmp_path / f"{number}.wav", np.full(22050, 0.1), 48000)
    answer = coppice("classify", tmp_path, "--model", trained)
    names = ", ".join(str(tmp_path / f"{number}.wav") for number in range(3))
    assert f"{names} and 2 more: resampled from 48000 Hz to 44100 Hz\n" in answer.err


@pytest.mark.parametrize("inside", quick([[], ["--with-front-end"]], ["--with-front-end"]))
def test_an_exported_file_hears_the_same(coppice, trained, sounds, tmp_path, inside):
    model = tmp_path / "net.onnx"
    assert coppice("export", trained, "--to", "onnx", *inside, "--out", model).code == 0
    ours, theirs = (json.loads(coppice("classify", sounds, "--model", one, "--json").out) for one in (trained, model))
    assert len(ours) == 15
    for one, other in zip(ours, theirs, strict=True):
        assert one["label"] == other["label"]
        assert one["posteriors"] == pytest.approx(other["posteriors"], abs=1e-4)
    model.write_bytes(model.read_bytes()[:5000])
    assert "net.onnx is not a whole ONNX model" in coppice("classify", sounds, "--model", model).sentence
