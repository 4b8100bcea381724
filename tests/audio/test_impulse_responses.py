import numpy as np
import pytest
import soundfile

from coppice.audio.impulse_responses import open_impulse_responses, through_device
from coppice.audio.resample import resample
from coppice.core.errors import CoppiceError


def test_a_convolution_is_that_of_the_definition_cut_to_the_clip():
    random = np.random.default_rng(0)
    waveform, response = random.standard_normal(300), random.standard_normal(40)
    expected = [sum(response[k] * waveform[n - k] for k in range(40) if n >= k) for n in range(300)]
    ours = through_device(waveform.astype(np.float32), response.astype(np.float32))
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, atol=2e-5)


def test_a_response_at_another_rate_gives_the_same_sound_at_that_rate(tmp_path):
    random = np.random.default_rng(1)
    taps = resample(random.standard_normal(400).astype(np.float32), from_hz=8000, to_hz=44100)[:2000]
    taps *= np.exp(-np.arange(len(taps)) / 200)  # nothing above 4 kHz, and it dies away
    soundfile.write(tmp_path / "device.wav", taps, 44100, subtype="FLOAT")
    sound = resample(random.standard_normal(8000).astype(np.float32), from_hz=8000, to_hz=44100)
    found = open_impulse_responses(tmp_path)
    high, low = (found.read(0, sample_rate=rate, resampler="soxr_hq") for rate in (44100, 22050))
    first = resample(through_device(sound, high), from_hz=44100, to_hz=22050)
    second = through_device(resample(sound, from_hz=44100, to_hz=22050), low)
    inner = slice(500, len(first) - 500)
    assert np.abs(first[inner] - second[inner]).max() < 0.01 * np.abs(first).max()


def test_files_come_in_the_order_of_their_names_and_notes_are_passed_over(tmp_path):
    for name in ("b.wav", "a.wav"):
        soundfile.write(tmp_path / name, np.ones(9), 8000)
    (tmp_path / "list.csv").write_text("a.wav")
    found = open_impulse_responses(tmp_path)
    assert [file.name for file in found.files] == ["a.wav", "b.wav"] and len(found) == 2
    assert found.identity()[0][0] == "a.wav" and len(found.identity()[0][1]) == 64


def test_a_folder_without_sounds_and_a_recording_in_it_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(CoppiceError, match="holds no impulse responses; put sound files into it"):
        open_impulse_responses(tmp_path)
    soundfile.write(tmp_path / "song.wav", np.ones(88_000), 8000)
    with pytest.raises(CoppiceError, match=r"song.wav lasts 11.0 s, so it is no impulse response"):
        open_impulse_responses(tmp_path).read(0, sample_rate=8000, resampler="soxr_hq")
