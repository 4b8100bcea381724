"""Each published front end against its constants, written down a second time and computed without our code."""

import dataclasses

import librosa
import numpy as np
import pytest
import soundfile
import torch

from coppice.audio.decode import decode
from coppice.audio.front_end import FrontEnd, front_end
from coppice.audio.length import fit_length
from coppice.audio.log_mel import log_mel
from coppice.audio.presets import PRESETS, TAKEN_AS_IS

EPS = np.spacing(1)


def librosa_bands(wave, *, rate, n_fft, window, win_length, hop, power, mels, low, high):
    spectrum = librosa.stft(
        wave, n_fft=n_fft, hop_length=hop, win_length=win_length, window=window, center=True, pad_mode="reflect"
    )
    bank = librosa.filters.mel(
        sr=rate, n_fft=n_fft, n_mels=mels, fmin=low, fmax=high, htk=False, norm="slaney", dtype=np.float64
    )
    return bank @ np.abs(spectrum) ** power


def direct_power(wave, *, n_fft, window, hop):
    """Frame by frame: mirrored ends, the window in the middle of the FFT."""
    before = (n_fft - len(window)) // 2
    shape = np.zeros(n_fft)
    shape[before : before + len(window)] = window
    padded = np.pad(wave, n_fft // 2, mode="reflect")
    starts = range(0, len(padded) - n_fft + 1, hop)
    return np.stack([np.abs(np.fft.rfft(padded[start : start + n_fft] * shape)) ** 2 for start in starts], axis=1)


def triangles(points, edges):
    """One triangle of height 1 over each three neighbouring edges."""
    rows = []
    for left, centre, right in zip(edges, edges[1:], edges[2:], strict=False):
        rising, falling = (points - left) / (centre - left), (right - points) / (right - centre)
        rows.append(np.maximum(0, np.minimum(rising, falling)))
    return np.stack(rows)


def dcase(wave):
    bands = librosa_bands(
        wave + EPS,
        rate=44100,
        n_fft=2048,
        window="hamming",
        win_length=1764,
        hop=882,
        power=1,
        mels=40,
        low=0,
        high=22050,
    )
    return np.log(bands + EPS)


def dcase2021(wave):
    return dcase(wave)[:, :-1]


def dcase2022(wave):
    picture = dcase(wave)
    peak = np.max(np.abs(picture))
    if peak > 1.0:
        picture = picture / peak
    return (picture * 32767.0).astype(np.int16) / 32767.0


def dcase2024(wave):
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(3072) / 3072)
    mels = np.linspace(0, 2595 * np.log10(1 + 16000 / 700), 258)
    bank = triangles(np.arange(2049) * 32000 / 4096, 700 * (10 ** (mels / 2595) - 1))
    return np.log(bank @ direct_power(wave, n_fft=4096, window=hann, hop=500) + 1e-5)


def panns(wave, *, rate, n_fft, hop, high):
    bands = librosa_bands(
        wave, rate=rate, n_fft=n_fft, window="hann", win_length=n_fft, hop=hop, power=2, mels=64, low=50, high=high
    )
    return librosa.power_to_db(bands, ref=1.0, amin=1e-10, top_db=None)


def efficientat(wave):
    emphasised = np.convolve(wave, [1, -0.97], mode="valid")
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(800) / 799)
    points = 1127 * np.log(1 + np.arange(512) * 31.25 / 700)  # without the last bin, which Kaldi's bank does not have
    bank = np.pad(triangles(points, np.linspace(0, 1127 * np.log(1 + 15000 / 700), 130)), ((0, 0), (0, 1)))
    bands = bank @ direct_power(emphasised, n_fft=1024, window=hann, hop=320)
    return (np.log(bands + 0.00001) + 4.5) / 5.0


PUBLISHED = {
    "dcase2021": dcase2021,
    "dcase2022": dcase2022,
    "surrey2022": dcase,
    "dcase2024": dcase2024,
    "panns32k": lambda wave: panns(wave, rate=32000, n_fft=1024, hop=320, high=14000),
    "panns16k": lambda wave: panns(wave, rate=16000, n_fft=512, hop=160, high=8000),
    "efficientat": efficientat,
}
SHAPES = {
    "dcase2021": ((40, 50), (40, 500)),
    "dcase2022": ((40, 51), (40, 501)),
    "surrey2022": ((40, 51), (40, 501)),
    "dcase2024": ((256, 65), (256, 641)),
    "panns32k": ((64, 101), (64, 1001)),
    "panns16k": ((64, 101), (64, 1001)),
    "efficientat": ((128, 100), (128, 1000)),
}
# Largest difference of the float32 path on the real clips below, in the preset's unit (panns: dB; dcase2022: one
# step of its rounding).
FLOAT32 = {
    "dcase2021": 1e-3,
    "dcase2022": 1.1 / 32767,
    "surrey2022": 1e-3,
    "dcase2024": 3e-3,
    "panns32k": 1e-1,
    "panns16k": 1e-1,
    "efficientat": 2e-4,
}


def waves(rate):
    rng = np.random.default_rng(7)
    noise = rng.standard_normal(rate)
    gap = noise * 0.3
    gap[rate // 4 : rate // 2] = 0
    return {
        "noise": noise * 0.1,
        "loud noise": noise * 0.9,
        "a walk, as deep as traffic": np.cumsum(noise) * 1e-3,
        "a tone": 0.5 * np.sin(2 * np.pi * 997 * np.arange(rate) / rate),
        "noise with a silent gap": gap,
        "one click": np.eye(1, rate, rate // 3)[0],
    }


def test_the_table_holds_every_constant_of_every_preset():
    constants = [field.name for field in dataclasses.fields(FrontEnd)][1:]
    assert set(PRESETS) == {*PUBLISHED, "logmel"}
    assert all(list(table) == constants for table in PRESETS.values())


@pytest.mark.parametrize("preset", PUBLISHED)
def test_shapes_are_the_published_ones(preset):
    assert (front_end(preset, duration_s=1).shape, front_end(preset, duration_s=10).shape) == SHAPES[preset]


@pytest.mark.parametrize("preset", PUBLISHED)
def test_a_preset_equals_its_published_constants(preset):
    ears = front_end(preset, duration_s=1.0)
    for name, wave in waves(ears.sample_rate).items():
        ours = log_mel(wave, ears, dtype=torch.float64).numpy()
        theirs = PUBLISHED[preset](wave)
        assert ours.shape == theirs.shape == ears.shape
        assert np.abs(ours - theirs).max() <= 1e-6, name


@pytest.mark.parametrize("preset", PUBLISHED)
def test_a_preset_equals_its_published_constants_on_real_clips(shared_data, preset):
    ears = front_end(preset, duration_s=1.0)
    files = sorted((shared_data / "tau2022_sample" / "audio").glob("*.wav"))[::19]
    assert len(files) == 10
    for file in files:
        wave = decode(file, sample_rate=ears.sample_rate, resampler=ears.resampler)
        wave = fit_length(wave, samples=ears.samples)
        theirs = PUBLISHED[preset](wave.astype(np.float64))
        assert np.abs(log_mel(wave, ears, dtype=torch.float64).numpy() - theirs).max() <= 1e-6, file.name
        assert np.abs(log_mel(wave, ears).numpy() - theirs).max() <= FLOAT32[preset], file.name


def test_the_dcase2024_baseline_resamples_in_its_own_way(tmp_path):
    sound = np.random.default_rng(3).standard_normal(44100) * 0.1
    soundfile.write(tmp_path / "noise.wav", sound, 44100, subtype="PCM_24")
    ears = front_end("dcase2024")
    assert ears.resampler == "sinc_hann"
    assert {preset["resampler"] for name, preset in PRESETS.items() if name != "dcase2024"} == {"soxr_hq"}
    wave, _ = soundfile.read(tmp_path / "noise.wav")
    reach, cutoff = 6 / (32000 * 0.99), 32000 * 0.99
    resampled = np.empty(32000)
    for sample in range(32000):
        near = np.arange(max(0, int((sample / 32000 - reach) * 44100)), min(44100, sample * 441 // 320 + 10))
        away = near / 44100 - sample / 32000
        window = np.where(np.abs(away) < reach, np.cos(np.pi * away / (2 * reach)) ** 2, 0)
        resampled[sample] = wave[near] @ (np.sinc(away * cutoff) * window) * cutoff / 44100
    decoded = decode(tmp_path / "noise.wav", sample_rate=32000, resampler=ears.resampler)
    assert np.abs(decoded - resampled).max() <= 1e-7
    assert np.abs(log_mel(decoded, ears, dtype=torch.float64).numpy() - dcase2024(resampled)).max() <= 1e-3


def test_kaldi_has_no_weight_in_the_last_bin():
    bank = front_end("efficientat").filterbank()
    assert bank.shape == (128, 513) and not bank[:, -1].any()


def test_a_quiet_clip_of_dcase2022_is_not_made_louder():
    ears = front_end("logmel", log_offset=1.0, clip_scaling="peak_int16", duration_s=1.0)
    quiet = torch.full((32000,), 1e-6)
    plain = log_mel(quiet, dataclasses.replace(ears, clip_scaling=None), dtype=torch.float64)
    assert 0 < plain.abs().max() < 1
    assert torch.equal(log_mel(quiet, ears, dtype=torch.float64), torch.trunc(plain * 32767) / 32767)


# One other value for each constant that acts on a waveform at the right rate.
OTHERS = {
    "waveform_offset": 1e-3,
    "preemphasis": 0.97,
    "n_fft": 4096,
    "win_length": 1000,
    "hop_length": 500,
    "window": "hamming",
    "window_periodic": False,
    "pad_mode": "constant",
    "drop_last_frame": False,
    "power": 1.0,
    "n_mels": 40,
    "fmin_hz": 100.0,
    "fmax_hz": 14000.0,
    "mel_scale": "htk",
    "mel_norm": None,
    "log": "decibel",
    "log_offset": 1e-3,
    "log_floor": 1e-1,
    "log_shift": 4.5,
    "log_divisor": 5.0,
    "clip_scaling": "peak_int16",
}


def test_every_constant_but_three_acts_on_the_picture():
    assert {*PRESETS["logmel"]} - {*OTHERS} == {"sample_rate", "resampler", "duration_s", "pad"}


@pytest.mark.parametrize("name", OTHERS)
def test_each_constant_reaches_the_picture(name):
    wave = torch.from_numpy(np.random.default_rng(1).standard_normal(16000) * 0.01)
    ears = front_end("logmel", duration_s=0.5)
    other = front_end("logmel", duration_s=0.5, **{name: OTHERS[name]})
    before, after = log_mel(wave, ears), log_mel(wave, other)
    assert tuple(after.shape) == other.shape
    assert before.shape != after.shape or float((before - after).abs().max()) > 1e-4


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_decibels_count_a_magnitude_twice(power):
    wave = torch.from_numpy(np.random.default_rng(1).standard_normal(16000))
    nats, decibels = (
        log_mel(wave, front_end("logmel", log=log, power=power, duration_s=0.5), dtype=torch.float64)
        for log in ("natural", "decibel")
    )
    assert torch.allclose(decibels, nats * (20 / power / np.log(10)), atol=1e-9)


def test_what_is_taken_as_it_is_has_a_preset():
    assert set(PRESETS) > TAKEN_AS_IS and "dcase2021" not in TAKEN_AS_IS
