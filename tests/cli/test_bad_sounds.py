import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

RECIPE = """\
name: mine
data: {{source: {source!r}}}
front_end: {{preset: dcase2021, duration_s: 0.5}}
network: {{name: dcase2021, widths: [4, 4, 4], dense: 6}}
training: {{epochs: 1}}
"""
NOISE = 0.1 * np.random.default_rng(0).standard_normal(22050)


def write_short(path: Path, suffix: str) -> Path:
    path = path.with_suffix(suffix)
    soundfile.write(path, NOISE, 44100)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def write_text(path: Path, suffix: str) -> Path:
    path.write_text("these are words\n" * 50)
    return path


def write_empty(path: Path, suffix: str) -> Path:
    path.touch()
    return path


def write_zeros(path: Path, suffix: str) -> Path:
    soundfile.write(path, np.zeros(22050), 44100)
    return path


def write_nan(path: Path, suffix: str) -> Path:
    soundfile.write(path, np.where(np.arange(22050) == 99, np.nan, NOISE), 44100, subtype="FLOAT")
    return path


BAD = [
    (write_empty, ".wav", "bad.wav is empty: it has 0 bytes."),
    (write_short, ".wav", "bad.wav is cut short: its header promises 44100 bytes of sound, the file holds"),
    (write_short, ".flac", "bad.flac is cut short or damaged"),
    (write_short, ".ogg", "bad.ogg is cut short"),
    (write_text, ".wav", "bad.wav is not a sound file that can be read (it begins with b'these are words"),
    (write_zeros, ".wav", "bad.wav is silent"),
    (write_nan, ".wav", "bad.wav holds 1 samples that are NaN or infinite"),
]


@pytest.fixture
def recipe(tmp_path):
    def write(source: Path) -> Path:
        path = tmp_path / "mine.yaml"
        path.write_text(RECIPE.format(source=str(source)), encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize(("write", "suffix", "sentence"), BAD)
def test_a_bad_file_is_refused_by_name_before_anything_is_written(
    coppice, make_folder, recipe, tmp_path, write, suffix, sentence
):
    source = make_folder(tmp_path / "s")
    write(source / "dog" / "bad.wav", suffix)
    said = coppice("run", recipe(source), "--out", tmp_path / "run").sentence
    assert said.startswith("1 of 16 clips cannot be used: ")
    assert sentence in said
    assert "set bad_clips to 'skip'" in said
    assert not (tmp_path / "run").exists()


def test_bad_files_are_left_out_and_listed_when_asked_for(coppice, make_folder, recipe, tmp_path):
    source = make_folder(tmp_path / "s")
    files = [write(source / "dog" / f"bad{n}.wav", suffix) for n, (write, suffix, _) in enumerate(BAD)]
    answer = coppice("run", recipe(source), "--set", "data.bad_clips=skip", "--out", tmp_path / "run")
    assert answer.code == 0
    data = json.loads((tmp_path / "run" / "data" / "data.json").read_text())
    assert sorted(problem["file"] for problem in data["problems"]) == sorted(map(str, files))
    assert sum(data["clips"].values()) == 15
    page = (tmp_path / "run" / "report.html").read_text()
    for file in files:
        assert f"left out dog/{file.name}: " in answer.err
        assert file.name in page


def test_a_class_of_bad_files_only_is_refused_with_the_reason(coppice, make_folder, recipe, tmp_path):
    source = make_folder(tmp_path / "s")
    (source / "wind").mkdir()
    for number in range(3):
        (source / "wind" / f"{number}.wav").touch()
    said = coppice("run", recipe(source), "--set", "data.bad_clips=skip", "--out", tmp_path / "run").sentence
    assert said.startswith("class 'wind' has 0 recordings (0 clips)")
    assert "3 clips were left out before, such as: " in said
    assert "0.wav is empty: it has 0 bytes." in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("classes", "sentence"),
    [
        ({"dog": 5}, "has one class only, 'dog'; a classifier needs at least 2."),
        (
            {"dog": 5, "rain": 1},
            "class 'rain' has 1 recording (1 clip) for train, validation and test; it needs at least 3.",
        ),
        ({"dog": 5, "rain": 0}, "rain holds no sound files"),
    ],
)
def test_classes_that_are_too_few_or_too_small_are_refused(coppice, make_folder, recipe, tmp_path, classes, sentence):
    source = make_folder(tmp_path / "s", **classes)
    assert sentence in coppice("run", recipe(source), "--out", tmp_path / "run").sentence
    assert not (tmp_path / "run").exists()


def test_places_without_sounds_are_refused(coppice, recipe, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for source, sentence in [
        (tmp_path / "empty", "empty has no class folders: it is empty; make one sub-folder per class."),
        (tmp_path / "file", "file is neither a folder nor a table (.csv, .tsv, .txt)."),
        (tmp_path / "file" / "below", "no file or folder has that name."),
        (tmp_path / "nowhere", "no file or folder has that name."),
        (tmp_path / ("y" * 300), "the name is too long for this file system."),
    ]:
        assert sentence in coppice("run", recipe(source), "--out", tmp_path / "run").sentence


def test_a_folder_that_may_not_be_read_is_refused(coppice, make_folder, recipe, tmp_path, monkeypatch):
    source = make_folder(tmp_path / "s")

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    said = coppice("data", "info", source).sentence
    assert said.startswith(f"cannot read the folder {source}: permission denied")


def test_high_rates_24_bit_and_strange_names_work(coppice, make_folder, recipe, tmp_path):
    source = make_folder(tmp_path / "ünï ₀ 雨" / "s", **{"犬 [x] [bold] :cat:": 4, 'a,b"c': 4, "x" * 240: 4})
    for folder in source.iterdir():
        soundfile.write(folder / "high.wav", np.tile(NOISE, 5)[:96000], 192_000, subtype="PCM_24")
        soundfile.write(folder / "deep.flac", NOISE, 44100, subtype="PCM_24")
        soundfile.write(folder / "stereo.mp3", np.stack([NOISE, NOISE], axis=1), 48000, format="MP3")
    answer = coppice("run", recipe(source), "--out", tmp_path / "wörk [b]" / "r")
    assert answer.code == 0, answer
    assert "wörk [b]" in answer.out
    assert "Traceback" not in answer.err
    model = tmp_path / "wörk [b]" / "r" / "train" / "checkpoint.safetensors"
    answer = coppice("evaluate", model, "--data", source)
    assert answer.code == 0, answer
    assert "犬 [x] [bold] :cat:" in answer.out
    answer = coppice("data", "info", source)
    assert answer.code == 0
    assert "192000" in answer.out


def test_data_info_lists_bad_files_and_succeeds(coppice, make_folder, tmp_path):
    source = make_folder(tmp_path / "s")
    (source / "dog" / "bad.wav").touch()
    write_short(source / "dog" / "short.wav", ".ogg")
    answer = coppice("data", "info", source)
    assert answer.code == 0
    assert "bad.wav is empty" in answer.out
    assert "short.ogg is cut short" in answer.out
    found = json.loads(coppice("data", "info", source, "--json").out)
    assert [Path(problem["file"]).name for problem in found["problems"]] == ["bad.wav", "short.ogg"]
