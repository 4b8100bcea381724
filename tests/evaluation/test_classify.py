from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from coppice.audio.front_end import front_end
from coppice.audio.log_mel import log_mel
from coppice.core.errors import CoppiceError
from coppice.evaluation.classify import classify
from coppice.networks.classifier import Classifier
from coppice.networks.dcase2021 import DCASE2021

RATE, SECONDS = 8000, 0.5
SAMPLES = round(RATE * SECONDS)


@pytest.fixture
def classifier():
    ears = front_end(
        "logmel", sample_rate=RATE, n_fft=512, win_length=320, hop_length=160, n_mels=20, duration_s=SECONDS
    )
    network = DCASE2021(widths=(4, 4, 4), dense=5, classes=3, bands=20, frames=25)
    return Classifier(network, ears, ("bus", "park", "tram"), torch.full((20,), -3.0), torch.ones(20))


@pytest.fixture
def wav(tmp_path):
    """Write noise of so many samples, loud enough to tell its parts apart; return the file and what it holds."""

    def write(samples, rate=RATE, channels=1):
        loudness = np.linspace(0.05, 0.9, samples)[:, None]
        sound = np.random.default_rng(samples).uniform(-1, 1, (samples, channels)) * loudness
        soundfile.write(tmp_path / "sound.wav", sound, rate, subtype="FLOAT")
        return tmp_path / "sound.wav", sound.astype(np.float32).mean(axis=1, dtype=np.float32)

    return write


def mean_posteriors(classifier, windows):
    features = torch.stack([log_mel(torch.from_numpy(window.copy()), classifier.front_end) for window in windows])
    return classifier.posteriors(features).mean(dim=0).tolist()


def test_a_file_of_one_clip_is_one_window(classifier, wav):
    file, sound = wav(SAMPLES)
    heard = classify(classifier, file)
    assert (heard.windows, heard.padded, heard.file) == (1, False, str(file))
    assert list(heard.posteriors.values()) == pytest.approx(mean_posteriors(classifier, [sound]), rel=1e-12)
    assert heard.label == max(heard.posteriors, key=heard.posteriors.get)
    assert sum(heard.posteriors.values()) == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize(
    "samples, starts",
    [
        (SAMPLES + 1, [0, 1]),
        (2 * SAMPLES, [0, SAMPLES]),
        (2 * SAMPLES + 700, [0, SAMPLES, SAMPLES + 700]),
        (3 * SAMPLES, [0, SAMPLES, 2 * SAMPLES]),
    ],
)
def test_a_long_file_is_heard_to_its_end_in_windows(classifier, wav, samples, starts):
    file, sound = wav(samples)
    heard = classify(classifier, file)
    assert (heard.windows, heard.padded) == (len(starts), False)
    expected = mean_posteriors(classifier, [sound[start : start + SAMPLES] for start in starts])
    assert list(heard.posteriors.values()) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("pad", ["zeros", "repeat"])
def test_a_short_file_is_filled_up_as_the_front_end_says(classifier, wav, pad):
    file, sound = wav(1500)
    heard = classify(replace(classifier, front_end=replace(classifier.front_end, pad=pad)), file)
    filled = np.zeros(SAMPLES, np.float32)
    filled[:1500] = sound
    if pad == "repeat":
        filled = np.tile(sound, 3)[:SAMPLES]
    assert (heard.windows, heard.padded) == (1, True)
    assert list(heard.posteriors.values()) == pytest.approx(mean_posteriors(classifier, [filled]), rel=1e-9)


def test_channels_are_averaged_and_other_rates_resampled(classifier, wav):
    file, sound = wav(SAMPLES, channels=2)
    assert list(classify(classifier, file).posteriors.values()) == pytest.approx(
        mean_posteriors(classifier, [sound]), rel=1e-5
    )
    file, _ = wav(2 * SAMPLES, rate=2 * RATE)
    assert (classify(classifier, file).windows, classify(classifier, file).padded) == (1, False)


def test_the_classifier_is_left_as_it_is(classifier, wav):
    classifier.network.train()
    before = {name: tensor.clone() for name, tensor in classifier.network.state_dict().items()}
    classify(classifier, wav(SAMPLES)[0])
    assert classifier.network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in classifier.network.state_dict().items())


def test_a_network_whose_output_is_no_number_is_refused(classifier, wav):
    with torch.no_grad():
        classifier.network.dense2.bias.fill_(float("nan"))
    file, _ = wav(SAMPLES)
    with pytest.raises(CoppiceError, match=r"output for .*sound\.wav is not a number"):
        classify(classifier, file)


@pytest.mark.parametrize("content, words", [(np.zeros(900), "silent"), (np.full(900, np.nan), "NaN")])
def test_a_file_without_sound_is_refused(classifier, tmp_path, content, words):
    soundfile.write(tmp_path / "bad.wav", content, RATE, subtype="FLOAT")
    with pytest.raises(CoppiceError, match=words):
        classify(classifier, tmp_path / "bad.wav")


def test_a_missing_file_is_refused_by_name(classifier, tmp_path):
    with pytest.raises(CoppiceError, match=r"nowhere\.wav"):
        classify(classifier, tmp_path / "nowhere.wav")
