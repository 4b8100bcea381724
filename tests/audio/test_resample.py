import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coppice.audio.resample import ResampleStream, resample
from coppice.core.errors import CoppiceError


def direct_sum(wave, from_hz, to_hz, samples):
    """The published definition: y(t) = sum over n of x[n] h(n / from - t), h a sinc of +-6 crossings under a Hann."""
    cutoff_hz = 0.99 * min(from_hz, to_hz)
    away = np.arange(len(wave))[None, :] / from_hz - np.asarray(samples)[:, None] / to_hz
    crossings = away * cutoff_hz
    window = np.where(np.abs(crossings) < 6, np.cos(np.pi * crossings / 12) ** 2, 0.0)
    return (np.sinc(crossings) * window) @ wave.astype(np.float64) * cutoff_hz / from_hz


def noise(samples):
    return (np.random.default_rng(samples).standard_normal(samples) * 0.3).astype(np.float32)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    from_hz=st.sampled_from([8000, 11025, 16000, 22050, 32000, 44056, 44100, 48000, 96000]),
    to_hz=st.sampled_from([8000, 16000, 22050, 32000, 44100, 48000]),
    given=st.integers(1, 600),
)
def test_the_windowed_sinc_equals_its_direct_sum(from_hz, to_hz, given):
    wave = noise(given)
    ours = resample(wave, from_hz=from_hz, to_hz=to_hz, resampler="sinc_hann")
    assert ours.dtype == np.float32 and len(ours) == -(-given * to_hz // from_hz)
    if from_hz != to_hz:
        assert np.abs(ours - direct_sum(wave, from_hz, to_hz, range(len(ours)))).max() <= 2e-7


def test_a_long_waveform_has_no_seams():
    wave = noise(3 * 44100)
    ours = resample(wave, from_hz=44100, to_hz=32000, resampler="sinc_hann")
    near = np.random.default_rng(0).integers(0, len(ours), 40)
    seam = (1 << 20) // 20  # the outputs are computed in blocks of about so many
    for samples in (near, np.arange(seam - 20, seam + 20), np.arange(len(ours) - 20, len(ours))):
        expected = [
            direct_sum(wave[max(0, at * 441 // 320 - 50) : at * 441 // 320 + 50], 44100, 32000, [place])[0]
            for at, place in ((at, at - max(0, at * 441 // 320 - 50) * 320 / 441) for at in samples.tolist())
        ]
        assert np.abs(ours[samples] - expected).max() <= 2e-7


@pytest.mark.parametrize("resampler", ["soxr_hq", "sinc_hann"])
def test_a_tone_stays_the_same_tone(resampler):
    tone = np.sin(2 * np.pi * 997 * np.arange(44100) / 44100).astype(np.float32)
    ours = resample(tone, from_hz=44100, to_hz=32000, resampler=resampler)
    expected = np.sin(2 * np.pi * 997 * np.arange(32000) / 32000)
    assert np.abs(ours - expected)[200:-200].max() <= 2e-3


@pytest.mark.parametrize("resampler", ["soxr_hq", "sinc_hann"])
def test_an_equal_rate_leaves_the_waveform_as_it_is(resampler):
    wave = noise(100)
    assert resample(wave, from_hz=8000, to_hz=8000, resampler=resampler) is wave


def test_an_unknown_resampler_is_refused():
    with pytest.raises(CoppiceError, match="Did you mean 'soxr_hq'"):
        resample(noise(10), from_hz=8000, to_hz=16000, resampler="soxr")


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    from_hz=st.sampled_from([8000, 11025, 44100, 44101, 96000]),
    to_hz=st.sampled_from([8000, 32000, 44100]),
    resampler=st.sampled_from(["soxr_hq", "sinc_hann"]),
    given=st.integers(0, 3000),
    cuts=st.lists(st.integers(0, 3000), max_size=5),
)
def test_pieces_are_resampled_as_the_whole_is(from_hz, to_hz, resampler, given, cuts):
    wave = noise(given)
    stream = ResampleStream(from_hz=from_hz, to_hz=to_hz, resampler=resampler)
    pieces = [stream.push(piece) for piece in np.split(wave, sorted(min(cut, given) for cut in cuts))]
    whole = resample(wave, from_hz=from_hz, to_hz=to_hz, resampler=resampler)
    ours = np.concatenate((*pieces, stream.finish()))
    assert ours.dtype == np.float32
    assert np.array_equal(ours, whole)


@pytest.mark.parametrize("resampler", ["soxr_hq", "sinc_hann"])
def test_a_stream_lags_little_and_holds_little(resampler):
    stream = ResampleStream(from_hz=48000, to_hz=44100, resampler=resampler)
    came = 0
    for block in range(1, 101):
        came += len(stream.push(noise(4800)))
        assert 0 <= block * 4410 - came <= 0.05 * 44100
    assert stream._sinc is None or len(stream._sinc._held) < 100


def test_a_stream_refuses_an_unknown_resampler():
    with pytest.raises(CoppiceError, match="resampler 'linear' is unknown"):
        ResampleStream(from_hz=1, to_hz=2, resampler="linear")
