import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from coppice.audio.front_end import front_end
from coppice.audio.impulse_responses import open_impulse_responses, through_device
from coppice.audio.log_mel import log_mel
from coppice.core.errors import CoppiceError
from coppice.datasets.clips import make_dataset
from coppice.datasets.device_copies import device_copies
from coppice.datasets.features import clip_waveform
from coppice.datasets.folder import open_folder

EARS = front_end("logmel", sample_rate=8000, n_fft=512, win_length=400, hop_length=160, n_mels=16, duration_s=0.5)


@pytest.fixture
def responses(tmp_path):
    place = tmp_path / "ir"
    place.mkdir()
    for number in range(4):
        taps = np.zeros(50)
        taps[[0, 5 * number + 1]] = 1, 0.2 * number + 0.1
        soundfile.write(place / f"{number}.wav", taps, 8000, subtype="FLOAT")
    return open_impulse_responses(place)


def test_a_copy_is_the_log_mel_of_the_convolved_waveform(sounds, responses, tmp_path):
    dataset, rows = open_folder(sounds), np.array([7, 2])
    found = device_copies(dataset, rows, EARS, responses, copies=3, seed=0, folder=tmp_path / "f")
    assert found.shape == (6, *EARS.shape)
    kernels = [soundfile.read(file, dtype="float32")[0] for file in responses.files]
    for place, row in enumerate(rows):
        waveform, _ = clip_waveform(dataset.clips.iloc[row].to_dict(), EARS)
        possible = [log_mel(through_device(waveform, kernel), EARS).numpy() for kernel in kernels]
        which = [
            int(np.argmin([np.abs(copy - one).max() for one in possible])) for copy in found[3 * place : 3 * place + 3]
        ]
        assert len(set(which)) == 3
        for copy, number in zip(found[3 * place : 3 * place + 3], which, strict=True):
            np.testing.assert_allclose(copy, possible[number], atol=1e-5)


def test_copies_are_stored_and_depend_on_seed_clip_and_responses_alone(sounds, responses, tmp_path, monkeypatch):
    dataset, store = open_folder(sounds), tmp_path / "f"
    first = np.array(device_copies(dataset, np.array([1, 4]), EARS, responses, copies=2, seed=0, folder=store))
    turned = device_copies(dataset, np.array([4, 1]), EARS, responses, copies=2, seed=0, folder=store)
    assert np.array_equal(turned, first[[2, 3, 0, 1]])
    other = device_copies(dataset, np.array([1, 4]), EARS, responses, copies=2, seed=1, folder=store)
    assert not np.array_equal(other, first)

    def never(*args):
        raise AssertionError("computed again")

    monkeypatch.setattr("coppice.datasets.features.log_mel", never)
    again = device_copies(dataset, np.array([1, 4]), EARS, responses, copies=2, seed=0, folder=store)
    assert np.array_equal(again, first)


def test_more_copies_than_responses_are_refused(sounds, responses, tmp_path):
    with pytest.raises(CoppiceError, match=r"device_ir.copies is 5 but .* holds 4 impulse responses; give at most 4"):
        device_copies(open_folder(sounds), np.array([0]), EARS, responses, copies=5, seed=0, folder=tmp_path)


def test_real_responses_change_real_clips(shared_data, tmp_path):
    ears = front_end("dcase2024", duration_s=1.0)
    files = sorted((shared_data / "tau2022_sample" / "audio").iterdir())[:2]
    table = pd.DataFrame({"file": [str(file) for file in files], "label": ["a", "b"]})
    dataset = make_dataset("two", table, root=files[0].parent)
    responses = open_impulse_responses(shared_data / "micirp")
    assert len(responses) == 66
    found = torch.from_numpy(
        np.array(device_copies(dataset, np.array([0, 1]), ears, responses, copies=2, seed=0, folder=tmp_path))
    )
    plain = log_mel(clip_waveform(dataset.clips.iloc[0].to_dict(), ears)[0], ears)
    # A microphone colours the bands; it does not turn a clip into another one.
    assert (found[0] - plain).mean(1).std() > 0.1
    assert np.corrcoef(found[0].flatten(), plain.flatten())[0, 1] > 0.5
