import librosa
import numpy as np
import pytest
import torch

from coppice.audio.decode import decode
from coppice.audio.front_end import front_end
from coppice.audio.length import fit_length
from coppice.audio.log_mel import log_mel
from coppice.core.errors import CoppiceError

# On real recordings the float32 path differs from librosa in float64 by at most this, in nats. On ESC-10:
# 0.00035 (dcase2021) and 0.0087 (logmel, whose power spectrum and smaller offset see the quietest bands).
FLOAT32_NATS = {"dcase2021": 1e-3, "logmel": 2e-2}


def reference(wave, ears):
    spectrum = np.abs(
        librosa.stft(
            wave.astype(np.float64) + ears.waveform_offset,
            n_fft=ears.n_fft,
            hop_length=ears.hop_length,
            win_length=ears.win_length,
            window=ears.window,
            pad_mode="reflect",
        )
    )
    bank = librosa.filters.mel(
        sr=ears.sample_rate,
        n_fft=ears.n_fft,
        n_mels=ears.n_mels,
        fmin=ears.fmin_hz,
        fmax=ears.fmax_hz,
        htk=ears.mel_scale == "htk",
        norm=ears.mel_norm,
        dtype=np.float64,
    )
    return np.log(bank @ spectrum**ears.power + ears.log_offset)[:, : ears.frames]


def sounds(rate, samples):
    rng = np.random.default_rng(0)
    t = np.arange(samples) / rate
    gap = (rng.standard_normal(samples) * 0.3).astype(np.float32)
    gap[samples // 4 : samples // 2] = 0
    return {
        "noise": rng.standard_normal(samples).astype(np.float32) * 0.1,
        "tone": (0.5 * np.sin(2 * np.pi * 997 * t)).astype(np.float32),
        "noise with a silent gap": gap,
        "one click": np.eye(1, samples, samples // 3, dtype=np.float32)[0],
    }


ENDS = {
    "dcase2021": front_end("dcase2021", duration_s=1.0),
    "logmel": front_end("logmel", duration_s=1.0),
    "htk": front_end("logmel", duration_s=0.7, mel_scale="htk", mel_norm=None, hop_length=500, win_length=2048),
    "odd": front_end("logmel", duration_s=0.333, sample_rate=16000, n_fft=1024, win_length=601, hop_length=333),
}


@pytest.mark.parametrize("which", ENDS)
def test_float64_equals_librosa_on_computed_sounds(which):
    ears = ENDS[which]
    for name, wave in sounds(ears.sample_rate, ears.samples).items():
        ours = log_mel(wave, ears, dtype=torch.float64).numpy()
        assert ours.shape == ears.shape
        assert np.abs(ours - reference(wave, ears)).max() <= 1e-6, name


@pytest.mark.parametrize("which", ["dcase2021", "logmel"])
def test_float32_stays_within_its_stated_difference_on_noise(which):
    ears = ENDS[which]
    wave = sounds(ears.sample_rate, ears.samples)["noise"]
    ours = log_mel(wave, ears)
    assert ours.dtype == torch.float32 and ours.is_contiguous()
    assert np.abs(ours.numpy() - reference(wave, ears)).max() <= 1e-5


@pytest.mark.parametrize("preset", FLOAT32_NATS)
def test_both_paths_agree_with_librosa_on_real_clips(shared_data, preset):
    ears = front_end(preset, duration_s=5.0)
    files = sorted((shared_data / "esc10" / "audio").glob("*.ogg"))[::40]
    assert len(files) == 10
    for file in files:
        wave = fit_length(decode(file, sample_rate=ears.sample_rate), samples=ears.samples)
        expected = reference(wave, ears)
        exact, fast = log_mel(wave, ears, dtype=torch.float64).numpy(), log_mel(wave, ears).numpy()
        assert np.abs(exact - expected).max() <= 1e-6, file.name
        assert np.abs(fast - expected).max() <= FLOAT32_NATS[preset], file.name


def test_float32_keeps_130_decibels_beside_a_pure_tone():
    ears = ENDS["logmel"]
    wave = sounds(ears.sample_rate, ears.samples)["tone"]
    expected = reference(wave, ears)
    heard = expected > expected.max() - 130 / (10 * np.log10(np.e))
    assert np.abs(log_mel(wave, ears).numpy() - expected)[heard].max() <= 0.05


def test_the_waveform_is_left_as_it_was():
    ears = ENDS["dcase2021"]
    wave = torch.randn(ears.samples)
    before = wave.clone()
    log_mel(wave, ears)
    assert torch.equal(wave, before)


def test_a_longer_waveform_gives_more_frames():
    assert log_mel(torch.randn(44100 * 3), ENDS["dcase2021"]).shape == (40, 150)


def test_digital_silence_is_finite():
    for ears in ENDS.values():
        assert torch.isfinite(log_mel(torch.zeros(ears.samples), ears)).all()


@pytest.mark.parametrize(
    ("wave", "saying"),
    [
        (torch.zeros(2, 44100), r"shape \(samples,\)"),
        (torch.zeros(44100, dtype=torch.int16), "real numbers"),
        (torch.zeros(1024), "give at least 1025"),
    ],
)
def test_a_waveform_of_another_kind_is_refused(wave, saying):
    with pytest.raises(CoppiceError, match=saying):
        log_mel(wave, ENDS["dcase2021"])


def test_another_precision_is_refused():
    with pytest.raises(CoppiceError, match=r"torch.float16"):
        log_mel(torch.zeros(44100), ENDS["dcase2021"], dtype=torch.float16)
