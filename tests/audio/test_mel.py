import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coppice.audio.mel import hz_to_mel, mel_filterbank, mel_to_hz
from coppice.audio.windows import window
from coppice.core.errors import CoppiceError


@pytest.mark.parametrize(
    ("rate", "n_fft", "n_mels", "low", "high"),
    [(44100, 2048, 40, 0.0, 22050.0), (32000, 4096, 128, 0.0, 16000.0), (32000, 1024, 64, 50.0, 14000.0)],
)
@pytest.mark.parametrize("scale", ["slaney", "htk"])
@pytest.mark.parametrize("norm", ["slaney", None])
def test_the_filterbank_equals_librosa(rate, n_fft, n_mels, low, high, scale, norm):
    ours = mel_filterbank(
        sample_rate=rate, n_fft=n_fft, n_mels=n_mels, fmin_hz=low, fmax_hz=high, scale=scale, norm=norm
    )
    theirs = librosa.filters.mel(
        sr=rate,
        n_fft=n_fft,
        n_mels=n_mels,
        fmin=low,
        fmax=high,
        htk=scale == "htk",
        norm=norm,
        dtype=np.float64,
    )
    assert np.abs(ours - theirs).max() <= 1e-12


@pytest.mark.parametrize("scale", ["slaney", "htk", "kaldi"])
@settings(max_examples=50, deadline=None, derandomize=True)
@given(hz=st.floats(0, 96000))
def test_mels_go_there_and_back(scale, hz):
    assert float(mel_to_hz(hz_to_mel(hz, scale=scale), scale=scale)) == pytest.approx(hz, abs=1e-7, rel=1e-12)


def test_a_band_without_a_bin_is_refused():
    with pytest.raises(CoppiceError, match=r"of 128 mel bands.*use fewer n_mels or a larger n_fft"):
        mel_filterbank(sample_rate=44100, n_fft=512, n_mels=128, fmin_hz=0.0, fmax_hz=22050.0)


def test_an_unknown_scale_or_norm_is_refused():
    with pytest.raises(CoppiceError, match="Did you mean 'slaney'"):
        hz_to_mel(1.0, scale="slany")
    with pytest.raises(CoppiceError, match="mel_norm is 'area'"):
        mel_filterbank(sample_rate=8000, n_fft=512, n_mels=8, fmin_hz=0.0, fmax_hz=4000.0, norm="area")


@pytest.mark.parametrize("name", ["hamming", "hann"])
@pytest.mark.parametrize("length", [2, 7, 1764, 2048])
def test_windows_equal_librosa(name, length):
    assert np.abs(window(name, length) - librosa.filters.get_window(name, length, fftbins=True)).max() <= 1e-12


@pytest.mark.parametrize("name", ["hamming", "hann"])
@pytest.mark.parametrize("length", [3, 800, 801])
def test_symmetric_windows_equal_librosa(name, length):
    ours = window(name, length, periodic=False)
    assert np.abs(ours - librosa.filters.get_window(name, length, fftbins=False)).max() <= 1e-12


def test_an_unknown_window_is_refused():
    with pytest.raises(CoppiceError, match="Did you mean 'hann'"):
        window("han", 4)
    with pytest.raises(CoppiceError, match="length is 1"):
        window("hann", 1)
