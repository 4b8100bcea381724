import errno
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from coppice.audio.decode import decode
from coppice.audio.front_end import front_end
from coppice.audio.length import fit_length
from coppice.audio.log_mel import log_mel
from coppice.core.errors import CoppiceError
from coppice.datasets import features
from coppice.datasets.clips import make_dataset
from coppice.datasets.csv_table import open_csv
from coppice.datasets.esc import open_esc
from coppice.datasets.feature_file import FeatureFile, read_rows
from coppice.datasets.features import load_features, store_key
from coppice.datasets.folder import open_folder

EARS = front_end("logmel", sample_rate=8000, n_fft=512, win_length=400, hop_length=160, n_mels=16, duration_s=0.5)


def stores(folder):
    return [entry.name for entry in folder.iterdir() if entry.is_dir()]


def test_rows_are_the_log_mel_of_their_clips(sounds, tmp_path):
    dataset = open_folder(sounds)
    found = load_features(dataset, EARS, folder=tmp_path / "f")
    assert found.array.shape == (12, *EARS.shape) and found.array.dtype == np.float32
    assert isinstance(found.array, np.memmap) and not found.array.flags.writeable
    assert (found.cut, found.padded, found.problems) == (0, 0, ()) and found.usable.all()
    for row, file in enumerate(dataset.clips["file"]):
        wave = fit_length(decode(file, sample_rate=8000), samples=EARS.samples)
        assert np.array_equal(found.array[row], log_mel(wave, EARS).numpy())


def test_the_second_time_nothing_is_decoded(sounds, tmp_path, monkeypatch):
    dataset = open_folder(sounds)
    first = load_features(dataset, EARS, folder=tmp_path / "f")
    monkeypatch.setattr("coppice.datasets.features._features", None)
    second = load_features(dataset, EARS, folder=tmp_path / "f")
    assert np.array_equal(first.array, second.array)


def test_without_a_folder_the_store_stands_in_the_cache(sounds):
    load_features(open_folder(sounds), EARS)
    assert len(stores(Path(os.environ["COPPICE_CACHE"]) / "features")) == 1


def test_the_number_of_threads_is_left_as_it_was_and_does_not_matter(sounds, tmp_path):
    before = torch.get_num_threads()
    one = load_features(open_folder(sounds), EARS, folder=tmp_path / "a", threads=1)
    many = load_features(open_folder(sounds), EARS, folder=tmp_path / "b", threads=4)
    assert np.array_equal(one.array, many.array) and torch.get_num_threads() == before


def test_the_key_follows_files_stretches_and_constants_but_not_labels(sounds):
    dataset = open_folder(sounds)
    key = store_key(dataset, EARS)
    assert key == store_key(open_folder(sounds), EARS)
    assert key == store_key(replace(dataset, clips=dataset.clips.assign(label="x", fold=3)), EARS)
    assert key != store_key(replace(dataset, clips=dataset.clips.assign(start_s=0.1)), EARS)
    assert key != store_key(replace(dataset, clips=dataset.clips[::-1]), EARS)
    assert key != store_key(dataset, replace(EARS, hop_length=161))
    os.utime(sounds / "dog" / "0.wav", ns=(0, 10**18))
    assert key != store_key(dataset, EARS)


def test_short_clips_are_padded_and_long_ones_cut_and_both_are_counted(sounds, write_noise, tmp_path):
    write_noise(sounds / "dog" / "long.wav", seconds=0.9)
    write_noise(sounds / "rain" / "short.wav", seconds=0.3)
    write_noise(sounds / "rain" / "tiny bit short.wav", seconds=0.49)
    found = load_features(open_folder(sounds), EARS, folder=tmp_path / "f")
    assert (found.cut, found.padded) == (1, 1)


def test_a_cut_clip_is_its_start_even_when_it_is_resampled(tmp_path):
    wave = np.random.default_rng(0).standard_normal(44100).astype(np.float32) * 0.1
    for label in ("dog", "rain"):
        (tmp_path / "s" / label).mkdir(parents=True)
        soundfile.write(tmp_path / "s" / label / "a.wav", wave, 44100, subtype="FLOAT")
    dataset = open_folder(tmp_path / "s")
    found = load_features(dataset, EARS, folder=tmp_path / "f")
    whole = decode(dataset.clips["file"][0], sample_rate=8000)[: EARS.samples]
    assert np.abs(found.array[0] - log_mel(whole, EARS).numpy()).max() < 1e-3


def test_stretches_are_taken_where_they_are(tmp_path, write_noise):
    write_noise(tmp_path / "day.wav", seconds=3)
    (tmp_path / "t.csv").write_text("file,label,start_s,duration_s\nday.wav,dog,0,0.5\nday.wav,rain,1.5,0.25\n")
    found = load_features(open_csv(tmp_path / "t.csv"), EARS, folder=tmp_path / "f")
    wave = decode(tmp_path / "day.wav", sample_rate=8000)
    late = fit_length(wave[12000:14000], samples=EARS.samples)
    assert np.array_equal(found.array[1], log_mel(late, EARS).numpy())
    assert (found.cut, found.padded) == (0, 1)


@pytest.fixture
def damaged(sounds):
    (sounds / "dog" / "0.wav").write_text("not a sound")
    content = (sounds / "rain" / "3.wav").read_bytes()
    (sounds / "rain" / "3.wav").write_bytes(content[:500])
    soundfile.write(sounds / "rain" / "4.wav", np.zeros(4000), 8000)
    soundfile.write(sounds / "dog" / "5.wav", np.full(4000, np.nan), 8000, subtype="FLOAT")
    return open_folder(sounds)


def test_bad_clips_are_refused_with_their_files_and_what_would_work(damaged, tmp_path):
    with pytest.raises(
        CoppiceError, match=r"4 of 12 clips cannot be used: .*0.wav.*5.wav.*bad_clips to 'skip'"
    ) as caught:
        load_features(damaged, EARS, folder=tmp_path / "f")
    assert "\n" not in str(caught.value)


def test_bad_clips_can_be_left_out_and_are_listed(damaged, tmp_path):
    found = load_features(damaged, EARS, folder=tmp_path / "f", bad_clips="skip")
    assert [clip_id for clip_id, _, _ in found.problems] == [
        "dog/0.wav",
        "dog/5.wav",
        "rain/3.wav",
        "rain/4.wav",
    ]
    sentences = " ".join(sentence for _, _, sentence in found.problems)
    assert all(word in sentences for word in ("not a sound file", "NaN", "cut short", "silent"))
    assert (~found.usable).sum() == 4 and np.isnan(found.array[~found.usable]).all()
    assert np.isfinite(found.array[found.usable]).all()


def test_a_repaired_file_is_read_again(damaged, tmp_path, write_noise):
    load_features(damaged, EARS, folder=tmp_path / "f", bad_clips="skip")
    for file in ("dog/0.wav", "dog/5.wav", "rain/3.wav", "rain/4.wav"):
        write_noise(damaged.root / file)
    assert load_features(damaged, EARS, folder=tmp_path / "f").usable.all()


def test_a_dataset_without_a_usable_clip_is_refused(sounds, tmp_path):
    for file in sounds.rglob("*.wav"):
        file.write_text("nothing")
    with pytest.raises(CoppiceError, match="none of the 12 clips"):
        load_features(open_folder(sounds), EARS, folder=tmp_path / "f", bad_clips="skip")


def test_an_unknown_policy_is_refused(sounds):
    with pytest.raises(CoppiceError, match="bad_clips is 'drop'"):
        load_features(open_folder(sounds), EARS, bad_clips="drop")


def test_a_full_disk_is_one_sentence_and_leaves_no_store(sounds, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(CoppiceError, match=r"cannot write the feature store .*: the disk is full"):
        load_features(open_folder(sounds), EARS, folder=tmp_path / "f")
    assert stores(tmp_path / "f") == []


def test_a_damaged_store_is_refused_by_name(sounds, tmp_path):
    dataset = open_folder(sounds)
    load_features(dataset, EARS, folder=tmp_path / "f")
    store = tmp_path / "f" / store_key(dataset, EARS)
    with (store / "features.npy").open("r+b") as handle:
        handle.truncate(1000)
    with pytest.raises(CoppiceError, match=r"the feature store .* is damaged; remove the folder"):
        load_features(dataset, EARS, folder=tmp_path / "f")


def test_an_interrupted_run_is_taken_up_where_it_stood(sounds, tmp_path, monkeypatch):
    monkeypatch.setattr("coppice.datasets.features.CHUNK", 4)
    monkeypatch.setattr("coppice.datasets.features.MARK_AFTER_S", 0)
    dataset = open_folder(sounds)
    whole = load_features(dataset, EARS, folder=tmp_path / "whole")
    compute, done = features._features, []

    def interrupted(clip, ears):
        if len(done) == 9:
            raise KeyboardInterrupt
        done.append(clip["file"])
        return compute(clip, ears)

    monkeypatch.setattr(features, "_features", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_features(dataset, EARS, folder=tmp_path / "f", threads=1)
    assert stores(tmp_path / "f") == [f".partial-{store_key(dataset, EARS)}"]
    again = []
    monkeypatch.setattr(features, "_features", lambda clip, ears: again.append(clip["file"]) or compute(clip, ears))
    found = load_features(dataset, EARS, folder=tmp_path / "f")
    assert sorted(again) == dataset.clips["file"].tolist()[8:]
    assert np.array_equal(found.array, whole.array)


SLOW = """
import json, sys, time
from pathlib import Path
from coppice.audio.front_end import FrontEnd
from coppice.datasets import features
from coppice.datasets.folder import open_folder
compute = features._features
def slowly(clip, ears):
    time.sleep(float(sys.argv[4]))
    return compute(clip, ears)
features._features = slowly
features.CHUNK, features.MARK_AFTER_S = 2, 0
features.load_features(
    open_folder(sys.argv[1]), FrontEnd.from_dict(json.loads(sys.argv[3])), folder=Path(sys.argv[2]), threads=1
)
"""


def start_slow(sounds, folder, seconds_per_clip):
    given = [str(sounds), str(folder), json.dumps(EARS.to_dict()), str(seconds_per_clip)]
    return subprocess.Popen([sys.executable, "-c", SLOW, *given], stderr=subprocess.DEVNULL)


def wait_for(done, seconds=60):
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


def rows_done(folder, key):
    marks = folder / f".partial-{key}" / "done"
    return sum(mark != 0 for mark in marks.read_bytes()) if marks.exists() else 0


def test_a_killed_process_loses_no_finished_row(sounds, tmp_path, monkeypatch):
    folder, dataset = tmp_path / "f", open_folder(sounds)
    key = store_key(dataset, EARS)
    process = start_slow(sounds, folder, 0.2)
    try:
        wait_for(lambda: rows_done(folder, key) >= 4)
    finally:
        process.kill()
        process.wait()
    kept = rows_done(folder, key)
    assert not (folder / key).exists() and kept < 12
    compute, again = features._features, []
    monkeypatch.setattr(features, "_features", lambda clip, ears: again.append(clip["file"]) or compute(clip, ears))
    found = load_features(dataset, EARS, folder=folder)
    assert len(again) == 12 - kept
    assert np.array_equal(found.array, load_features(dataset, EARS, folder=tmp_path / "other").array)


def test_a_second_process_waits_says_so_and_reads_the_same(sounds, tmp_path, monkeypatch, capsys):
    folder, dataset = tmp_path / "f", open_folder(sounds)
    key = store_key(dataset, EARS)
    process = start_slow(sounds, folder, 0.1)
    try:
        wait_for(lambda: rows_done(folder, key) >= 2)
        monkeypatch.setattr("coppice.datasets.features._features", None)  # it must not compute anything itself
        found = load_features(dataset, EARS, folder=folder)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
    assert "another process is filling the feature store" in " ".join(capsys.readouterr().err.split())
    assert np.isfinite(found.array).all() and len(found.array) == 12


def test_esc10_has_the_shape_the_published_baseline_sees(shared_data, tmp_path):
    whole = open_esc("esc10", root=shared_data / "esc10")
    dataset = make_dataset("part", whole.clips.iloc[::20], root=whole.root)
    found = load_features(dataset, front_end("dcase2021", duration_s=5.0), folder=tmp_path)
    assert found.array.shape == (20, 40, 250) and np.isfinite(found.array).all()


def test_the_disk_is_not_waited_for_at_every_chunk(sounds, tmp_path, monkeypatch):
    monkeypatch.setattr("coppice.datasets.features.CHUNK", 1)
    marks, mark = [], FeatureFile.checkpoint
    monkeypatch.setattr(FeatureFile, "checkpoint", lambda self: marks.append(1) or mark(self))
    load_features(open_folder(sounds), EARS, folder=tmp_path / "f")
    assert len(marks) <= 2  # at the end, and once more on a machine that takes two seconds for it


@pytest.mark.parametrize(
    "rows", [[], [3], [0, 1, 2, 3], [5, 4, 3], [7, 7, 0, 1, 1, 2], [19, 0, 10, 11, 12, 3]], ids=str
)
def test_rows_that_are_read_are_those_of_the_map(tmp_path, rows):
    whole = np.random.default_rng(0).standard_normal((20, 3, 5)).astype(np.float32)
    np.save(tmp_path / "a.npy", whole)
    mapped, rows = np.load(tmp_path / "a.npy", mmap_mode="r"), np.array(rows, dtype=np.int64)
    for array in (mapped, whole):
        found = read_rows(array, rows)
        assert np.array_equal(found, whole[rows]) and type(found) is np.ndarray and found.dtype == np.float32
    # A part of a map, in another order or of fewer rows, has other rows.
    for part in (np.s_[::-1], np.s_[:20], np.s_[0:20, :2], np.s_[0:20, :, ::2]):
        assert np.array_equal(read_rows(mapped[part], rows), whole[part][rows])
    rest = rows[rows < 8]
    assert np.array_equal(read_rows(mapped[12:], rest), whole[12:][rest])


def test_rows_outside_and_a_file_cut_short_are_refused(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.zeros((20, 3, 5), dtype=np.float32))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    for row in (-1, 20):
        with pytest.raises(IndexError):
            read_rows(mapped, np.array([row]))
    monkeypatch.setattr("coppice.datasets.feature_file._is_whole", lambda _: True)
    os.truncate(tmp_path / "a.npy", 600)
    with pytest.raises(CoppiceError, match=r"a.npy is cut short; remove its folder"):
        read_rows(mapped, np.arange(20))
