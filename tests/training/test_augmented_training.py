"""Augmentation from settings to a trained classifier, on sounds in files."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from coppice.audio.front_end import front_end
from coppice.core.errors import CoppiceError
from coppice.datasets.prepare import prepare
from coppice.training.augment.build import build_augmenter
from coppice.training.augment.settings import Augment, DeviceIR, Gain
from coppice.training.settings import TrainingSettings
from coppice.training.train import finetune, train

TINY = {"widths": [3, 3, 4], "dense": 6}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Synthetic scenes with the devices that they were recorded with."""
    place = tmp_path_factory.mktemp("data")
    return prepare(
        "synthetic",
        root=place / "sounds",
        front_end=front_end("dcase2021", duration_s=0.5),
        folder=place / "features",
        clips_per_class=5,
        duration_s=0.5,
        seed=0,
    )


@pytest.fixture(scope="module")
def responses(tmp_path_factory):
    place = tmp_path_factory.mktemp("responses")
    for number in range(3):
        taps = np.zeros(60)
        taps[[0, 7 * (number + 1)]] = 1, -0.8
        soundfile.write(place / f"{number}.wav", taps, 44100, subtype="FLOAT")
    return place


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COPPICE_CACHE", str(tmp_path / "cache"))


def how(**changes):
    return TrainingSettings(**{"epochs": 2, "batch_size": 8, "precision": "float32", **changes})


def test_convolved_copies_are_learnt_from_and_the_same_seed_gives_the_same_network(data, responses):
    settings = how(augment=Augment(device_ir=DeviceIR(str(responses), 0.8, copies=2)))
    plain, first, second = (train(data, config=TINY, settings=s) for s in (how(), settings, settings))
    weights = [one.network.conv1.weight for one in (plain, first, second)]
    assert torch.equal(weights[1], weights[2]) and not torch.equal(weights[0], weights[1])
    assert first.lineage[-1]["settings"]["augment"]["device_ir"]["copies"] == 2
    assert torch.equal(first.band_mean, plain.band_mean)


def test_only_clips_of_the_named_devices_are_convolved(data, responses):
    devices = data.dataset.clips["device"].iloc[data.split.train]
    device = str(devices.iloc[0])
    settings = how(augment=Augment(device_ir=DeviceIR(str(responses), 1.0, copies=1, devices=(device,))))
    classifier = train(data, config=TINY, settings=how(epochs=1))
    augmenter = build_augmenter(classifier, data, data.split.train, settings)
    log_mel = data.log_mel("train")
    changed = augmenter(classifier.normalise(log_mel), torch.arange(len(log_mel)), epoch=0, step=0)
    differs = (changed != classifier.normalise(log_mel)).flatten(1).any(1).numpy()
    assert np.array_equal(differs, (devices == device).to_numpy(dtype=bool)) and 0 < differs.sum() < len(differs)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"folder": "nowhere"}, "there is no folder of impulse responses 'nowhere'"),
        ({"copies": 9}, "device_ir.copies is 9 but .* holds 3 impulse responses; give at most 3"),
        ({"devices": ("z",)}, "no train clip was recorded with device 'z'"),
    ],
)
def test_bad_responses_are_refused_in_a_sentence(data, responses, given, sentence):
    settings = how(augment=Augment(device_ir=DeviceIR(**{"folder": str(responses), **given})))
    with pytest.raises(CoppiceError, match=sentence):
        train(data, config=TINY, settings=settings)


def test_without_normalisation_the_network_takes_log_mel_as_it_is(data):
    classifier = train(data, config=TINY, settings=how(epochs=1, augment=Augment(gain=Gain(3.0))), normalisation="none")
    log_mel = data.log_mel("test")
    assert torch.equal(classifier.normalise(log_mel)[:, 0], log_mel)
    tuned = finetune(classifier, data, settings=how(epochs=1))
    assert torch.equal(tuned.band_std, torch.ones(40))
    with pytest.raises(CoppiceError, match="normalisation is 'mean'; give bands or none"):
        train(data, config=TINY, settings=replace(how(), epochs=1), normalisation="mean")
