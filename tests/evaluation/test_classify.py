import tracemalloc
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
    assert (heard.windows, heard.padded, heard.seconds) == (1, True, 1500 / RATE)
    assert heard.remarks[0].startswith("0.19 s long, shorter than a clip of 0.5 s: filled up ")
    assert list(heard.posteriors.values()) == pytest.approx(mean_posteriors(classifier, [filled]), rel=1e-9)


def test_channels_are_averaged_and_other_rates_resampled(classifier, wav):
    file, sound = wav(SAMPLES, channels=2)
    assert list(classify(classifier, file).posteriors.values()) == pytest.approx(
        mean_posteriors(classifier, [sound]), rel=1e-5
    )
    file, _ = wav(2 * SAMPLES, rate=2 * RATE)
    heard = classify(classifier, file)
    assert (heard.windows, heard.padded, heard.seconds) == (1, False, SECONDS)
    assert heard.remarks == (f"resampled from {2 * RATE} Hz to {RATE} Hz",)


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


@pytest.mark.parametrize(
    "content, remarks",
    [
        (np.zeros(SAMPLES), ["silent: every sample is 0, so its class means nothing"]),
        (np.full(SAMPLES, np.nan), ["4,000 samples are NaN or infinite (100.00 %) and taken as 0", "silent: "]),
        (
            np.tile([0.2, -0.1, np.inf, 0.3], SAMPLES // 4),
            ["1,000 samples are NaN or infinite (25.00 %) and taken as 0"],
        ),
        (np.sin(np.arange(SAMPLES) / 9).clip(-0.5, 0.5) * 2, ["clipped: 66."]),
        (np.sin(np.arange(SAMPLES)) * 30000, ["far too loud: its largest sample is 3e+04, where 1 is full scale"]),
    ],
)
def test_a_sound_with_flaws_is_heard_and_the_flaws_are_said(classifier, tmp_path, content, remarks):
    soundfile.write(tmp_path / "bad.wav", content, RATE, subtype="FLOAT")
    heard = classify(classifier, tmp_path / "bad.wav")
    assert sum(heard.posteriors.values()) == pytest.approx(1, rel=1e-12)
    assert len(heard.remarks) == len(remarks)
    assert all(said.startswith(remark) for said, remark in zip(heard.remarks, remarks, strict=True))
    expected = mean_posteriors(classifier, [np.where(np.isfinite(content), content, 0).astype(np.float32)])
    assert list(heard.posteriors.values()) == pytest.approx(expected, rel=1e-6)


def test_a_sound_so_loud_that_numbers_end_is_refused_with_the_reason(classifier, tmp_path):
    soundfile.write(tmp_path / "bad.wav", np.full(SAMPLES, 1e30), RATE, subtype="FLOAT")
    with pytest.raises(CoppiceError, match=r"bad\.wav is not a number; the largest sample is 1e\+30, where"):
        classify(classifier, tmp_path / "bad.wav")


def test_a_hop_gives_windows_that_overlap_and_each_can_be_kept(classifier, wav):
    file, sound = wav(2 * SAMPLES + 700)
    heard = classify(classifier, file, hop_s=0.2, per_window=True)
    starts = [0, 1600, 3200, 2 * SAMPLES + 700 - SAMPLES]
    assert heard.windows == len(heard.per_window) == 4
    assert [(window.start_s, window.end_s) for window in heard.per_window] == [
        (start / RATE, (start + SAMPLES) / RATE) for start in starts
    ]
    for window, start in zip(heard.per_window, starts, strict=True):
        expected = mean_posteriors(classifier, [sound[start : start + SAMPLES]])
        assert list(window.posteriors.values()) == pytest.approx(expected, rel=1e-5)
        assert window.label == max(window.posteriors, key=window.posteriors.get)
    means = np.mean([list(window.posteriors.values()) for window in heard.per_window], axis=0)
    assert list(heard.posteriors.values()) == pytest.approx(means.tolist(), rel=1e-12)
    assert classify(classifier, file, hop_s=0.2).per_window == ()
    with pytest.raises(CoppiceError, match=r"the hop is 0\.6 s; give more than 0 and at most 0\.5"):
        classify(classifier, file, hop_s=0.6)


def test_an_hour_is_heard_in_little_memory(wav, classifier, tmp_path):
    file, rate, hour = tmp_path / "hour.wav", 4000, 3600
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, 60 * rate).astype(np.float32)
    with soundfile.SoundFile(file, "w", rate, 1, "PCM_16") as handle:
        for _ in range(hour // 60):
            handle.write(sound)
    loudness, progress = [], []

    class Ear:
        labels = classifier.labels
        known_front_end = classifier.known_front_end

        def posteriors_of_waveforms(self, waveforms, *, batch_size=64):
            loudness.extend(waveforms.std(dim=1).tolist())
            return torch.full((len(waveforms), 3), 1 / 3, dtype=torch.float64)

    tracemalloc.start()
    heard = classify(Ear(), file, progress=progress.append)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (heard.seconds, heard.windows, sum(progress)) == (hour, 2 * hour, pytest.approx(hour))
    assert len(loudness) == 2 * hour
    assert min(loudness) > 0.2
    assert len(progress) > 10
    assert peak < 40e6  # the waveform itself takes 115 MB


def test_a_missing_file_is_refused_by_name(classifier, tmp_path):
    with pytest.raises(CoppiceError, match=r"nowhere\.wav"):
        classify(classifier, tmp_path / "nowhere.wav")
