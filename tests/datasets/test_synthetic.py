from pathlib import Path

import numpy as np
import pytest
import soundfile

from coppice.core.errors import CoppiceError
from coppice.datasets.scenes import SCENES
from coppice.datasets.simulated_devices import DEVICES
from coppice.datasets.splits import split_dataset
from coppice.datasets.synthetic import open_synthetic


def make(place, **settings):
    return open_synthetic(root=place, **{"clips_per_class": 10, "duration_s": 0.3, **settings})


def test_it_says_that_it_is_synthetic(tmp_path):
    dataset = make(tmp_path / "s")
    assert dataset.synthetic and dataset.name == "synthetic" and "Synthetic" in dataset.note
    assert "not recorded" in (tmp_path / "s" / "README.txt").read_text()


def test_it_has_ten_classes_five_folds_and_whole_recordings(tmp_path):
    dataset = make(tmp_path / "s", clips_per_class=12)
    clips = dataset.clips
    assert len(clips) == 120 and len(dataset.labels) == 10
    assert clips.groupby("label").size().eq(12).all()
    assert clips.groupby("recording")["fold"].nunique().eq(1).all()
    assert clips.groupby("recording")["device"].nunique().eq(1).all()
    assert clips.groupby(["label", "fold"]).ngroups == 50
    assert clips["device"].nunique() == len(DEVICES)
    assert len(split_dataset(dataset).test) == pytest.approx(24, abs=5)


def test_files_are_16_bit_audible_and_not_overdriven(tmp_path):
    for file in make(tmp_path / "s").clips["file"]:
        wave, rate = soundfile.read(file)
        assert rate == 44100 and len(wave) == round(0.3 * 44100)
        assert soundfile.info(file).subtype == "PCM_16"
        assert np.sqrt(np.mean(wave**2)) > 1e-3
        assert np.mean(np.abs(wave) > 0.999) < 0.02


def test_the_same_seed_gives_the_same_bytes_whatever_the_threads(tmp_path):
    one, other = make(tmp_path / "a", threads=1), make(tmp_path / "b", threads=3)
    third = make(tmp_path / "c", seed=1)
    read = [[Path(file).read_bytes() for file in dataset.clips["file"][::7]] for dataset in (one, other, third)]
    assert read[0] == read[1] and read[0] != read[2]


def test_it_is_made_once(tmp_path):
    make(tmp_path / "s")
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "s").rglob("*.wav")}
    make(tmp_path / "s")
    assert before == {file: file.stat().st_mtime_ns for file in (tmp_path / "s").rglob("*.wav")}


def test_without_a_folder_it_stands_in_the_cache():
    first = open_synthetic(clips_per_class=5, duration_s=0.1)
    assert first.root == open_synthetic(clips_per_class=5, duration_s=0.1).root
    assert first.root.name.startswith("synthetic-")


def test_other_settings_do_not_overwrite_what_is_there(tmp_path):
    make(tmp_path / "s")
    with pytest.raises(CoppiceError, match="holds other synthetic sounds"):
        make(tmp_path / "s", seed=2)
    (tmp_path / "mine").mkdir()
    with pytest.raises(CoppiceError, match="cannot read the folder of synthetic sounds"):
        make(tmp_path / "mine")


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(CoppiceError, match="the disk is full"):
        make(tmp_path / "s")
    assert [file.name for file in tmp_path.iterdir()] == ["s.lock"]


@pytest.mark.parametrize(
    ("setting", "saying"),
    [
        ({"clips_per_class": 4}, "at least 5"),
        ({"duration_s": 0.0}, "0.1 to 30"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_a_number_that_cannot_be_is_refused(tmp_path, setting, saying):
    with pytest.raises(CoppiceError, match=saying):
        make(tmp_path / "s", **setting)


@pytest.mark.parametrize("scene", SCENES)
def test_every_scene_varies_from_recording_to_recording(scene):
    first, again, other = (SCENES[scene](np.random.default_rng(seed), 22050, 44100) for seed in (0, 0, 1))
    assert np.isfinite(first).all() and first.shape == (22050,)
    assert np.array_equal(first, again) and not np.allclose(first, other)
