import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from coppice.audio.decode import decode, decode_blocks, probe
from coppice.core.errors import CoppiceError

RATE = 44100


@pytest.fixture
def noise():
    return (np.random.default_rng(0).standard_normal(RATE) * 0.1).astype(np.float32)


def refusal(path, **stretch):
    """Return the one sentence, which names the file, in which it is refused."""
    with pytest.raises(CoppiceError) as caught:
        decode(path, sample_rate=RATE, **stretch)
    sentence = str(caught.value)
    assert path.name in sentence
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize(
    ("suffix", "subtype", "tolerance"),
    [
        ("wav", "PCM_16", 2**-15),
        ("wav", "PCM_24", 2**-23),
        ("wav", "PCM_32", 2**-24),
        ("wav", "FLOAT", 0),
        ("wav", "DOUBLE", 0),
        ("flac", "PCM_16", 2**-15),
        ("flac", "PCM_24", 2**-23),
    ],
)
def test_lossless_formats_give_back_their_samples(tmp_path, noise, suffix, subtype, tolerance):
    file = tmp_path / f"a.{suffix}"
    soundfile.write(file, noise, RATE, subtype=subtype)
    decoded = decode(file, sample_rate=RATE)
    assert decoded.dtype == np.float32 and decoded.shape == noise.shape
    assert np.abs(decoded - noise).max() <= tolerance


@pytest.mark.parametrize("suffix", ["ogg", "mp3"])
def test_lossy_formats_give_back_their_length_and_level(tmp_path, noise, suffix):
    file = tmp_path / f"a.{suffix}"
    soundfile.write(file, noise, RATE)
    decoded = decode(file, sample_rate=RATE)
    assert decoded.shape == noise.shape
    assert np.std(decoded) == pytest.approx(np.std(noise), rel=0.2)


def test_stereo_becomes_the_mean_of_its_channels(tmp_path, noise):
    soundfile.write(tmp_path / "s.wav", np.stack([noise, -0.5 * noise], axis=1), RATE, subtype="FLOAT")
    assert np.allclose(decode(tmp_path / "s.wav", sample_rate=RATE), 0.25 * noise, atol=1e-7)


def test_a_192_khz_file_is_resampled_and_keeps_its_tone(tmp_path):
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(192_000) / 192_000)
    soundfile.write(tmp_path / "hi.wav", tone, 192_000, subtype="PCM_24")
    decoded = decode(tmp_path / "hi.wav", sample_rate=RATE)
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
    assert decoded.shape == (RATE,)
    assert np.abs(decoded - expected)[500:-500].max() < 1e-4


def test_a_stretch_is_the_same_as_a_slice_of_the_whole(tmp_path, noise):
    soundfile.write(tmp_path / "a.wav", noise, RATE, subtype="FLOAT")
    stretch = decode(tmp_path / "a.wav", sample_rate=RATE, start_s=0.25, duration_s=0.5)
    assert np.array_equal(stretch, noise[11025 : 11025 + 22050])


def test_a_stretch_beyond_the_end_stops_there_and_one_outside_is_refused(tmp_path, noise):
    soundfile.write(tmp_path / "a.wav", noise, RATE)
    assert decode(tmp_path / "a.wav", sample_rate=RATE, start_s=0.9, duration_s=5.0).size == 4410
    assert "outside it" in refusal(tmp_path / "a.wav", start_s=1.0)


def test_the_header_is_told_as_it_is(tmp_path, noise):
    soundfile.write(tmp_path / "a.flac", np.stack([noise, noise], axis=1), 48000, subtype="PCM_24")
    info = probe(tmp_path / "a.flac")
    assert (info.sample_rate, info.channels, info.frames, info.format) == (48000, 2, RATE, "FLAC PCM_24")
    assert info.duration_s == RATE / 48000


def test_a_missing_file_is_named(tmp_path):
    assert "no such file" in refusal(tmp_path / "nowhere.wav")


def test_a_folder_in_place_of_a_file_is_refused(tmp_path):
    (tmp_path / "dir.wav").mkdir()
    assert "it is a folder" in refusal(tmp_path / "dir.wav")


def test_a_file_without_permission_is_refused_in_plain_words(tmp_path, noise, monkeypatch):
    file = tmp_path / "locked.wav"
    soundfile.write(file, noise, RATE)

    def locked(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", locked)
    assert "permission denied" in refusal(file)


def test_a_file_of_zero_bytes_is_refused(tmp_path):
    (tmp_path / "empty.wav").touch()
    assert "0 bytes" in refusal(tmp_path / "empty.wav")


def test_a_header_without_samples_is_refused(tmp_path):
    soundfile.write(tmp_path / "none.wav", np.zeros(0), RATE)
    assert "0 samples" in refusal(tmp_path / "none.wav")


def test_text_renamed_to_wav_is_refused(tmp_path):
    (tmp_path / "notes.wav").write_text("these are my notes, not a sound\n" * 20)
    assert "not a sound file" in refusal(tmp_path / "notes.wav")


def test_silence_is_refused(tmp_path):
    soundfile.write(tmp_path / "zero.wav", np.zeros(1000), RATE)
    assert "is silent: every sample is 0" in refusal(tmp_path / "zero.wav")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_refused(tmp_path, noise, bad):
    noise[77] = bad
    soundfile.write(tmp_path / "bad.wav", noise, RATE, subtype="FLOAT")
    assert "1 samples that are NaN or infinite" in refusal(tmp_path / "bad.wav")


@pytest.mark.parametrize("part", [0.3, 0.9, 0.999])
@pytest.mark.parametrize(
    ("suffix", "subtype"),
    [("wav", "PCM_16"), ("wav", "PCM_24"), ("wav", "FLOAT"), ("flac", None), ("ogg", None), ("mp3", None)],
)
def test_a_file_cut_short_is_refused_by_name(tmp_path, noise, suffix, subtype, part):
    whole, short = tmp_path / f"whole.{suffix}", tmp_path / f"short.{suffix}"
    soundfile.write(whole, noise, RATE, subtype=subtype)
    content = whole.read_bytes()
    short.write_bytes(content[: int(len(content) * part)])
    assert "cut short" in refusal(short)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_a_stretch_before_the_cut_is_refused_too(tmp_path, noise, suffix):
    whole, short = tmp_path / f"whole.{suffix}", tmp_path / f"short.{suffix}"
    soundfile.write(whole, np.tile(noise, 4), RATE)
    content = whole.read_bytes()
    short.write_bytes(content[: len(content) * 9 // 10])
    assert "cut short" in refusal(short, duration_s=0.1)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFF000])
def test_a_wav_written_as_a_stream_is_read_to_its_end(tmp_path, noise, size):
    file = tmp_path / "stream.wav"
    soundfile.write(file, noise, RATE, subtype="PCM_16")
    content = bytearray(file.read_bytes())
    content[4:8] = content[40:44] = size.to_bytes(4, "little")
    file.write_bytes(content)
    assert np.abs(decode(file, sample_rate=RATE) - noise).max() <= 2**-15


def patched(file, place, value):
    content = bytearray(file.read_bytes())
    content[place : place + len(value)] = value
    file.write_bytes(content)


def test_an_absurd_sample_rate_is_refused(tmp_path, noise):
    file = tmp_path / "rate.wav"
    soundfile.write(file, noise, RATE)
    patched(file, 24, (2**31 - 1).to_bytes(4, "little"))
    assert "sample rate of 2147483647 Hz" in refusal(file)


def test_an_absurd_number_of_channels_is_refused(tmp_path, noise):
    file = tmp_path / "channels.wav"
    soundfile.write(file, np.zeros((100, 65)), RATE)
    assert "65 channels" in refusal(file)


def test_a_header_that_claims_hundreds_of_hours_is_refused_before_memory_is_claimed(tmp_path, noise):
    file = tmp_path / "long.flac"
    soundfile.write(file, noise, RATE)
    low_bits = bytearray(file.read_bytes())[21] | 0x0F
    patched(file, 21, bytes([low_bits]) + b"\xff" * 4)
    assert "432.9 hours" in refusal(file)


def test_a_stream_that_does_not_say_its_length_is_refused(tmp_path, noise):
    file = tmp_path / "endless.flac"
    soundfile.write(file, noise, RATE)
    patched(file, 21, bytes([bytearray(file.read_bytes())[21] & 0xF0]) + bytes(4))
    assert "does not say how long it is" in refusal(file)


def test_a_format_that_was_not_asked_for_is_refused(tmp_path, noise):
    soundfile.write(tmp_path / "a.au", noise, RATE, format="AU")
    assert "give WAV, FLAC, OGG or MP3" in refusal(tmp_path / "a.au")


def test_unicode_and_very_long_names_are_read(tmp_path, noise):
    for name in ("鳥の声 – ünïcode 🎵.wav", "x" * 251 + ".wav"):
        soundfile.write(tmp_path / name, noise, RATE)
        assert decode(tmp_path / name, sample_rate=RATE).size == RATE


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.binary(max_size=400), place=st.integers(0, 200))
def test_any_bytes_give_a_waveform_or_one_sentence(tmp_path_factory, data, place):
    file = tmp_path_factory.mktemp("fuzz") / "a.wav"
    soundfile.write(file, np.full(200, 0.1), 8000)
    content = bytearray(file.read_bytes())
    content[place : place + len(data)] = data
    file.write_bytes(content)
    try:
        assert np.isfinite(decode(file, sample_rate=8000)).all()
    except CoppiceError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_blocks_are_the_whole_file_channel_by_channel(tmp_path, noise, suffix):
    file = tmp_path / f"a.{suffix}"
    soundfile.write(file, np.stack([noise] * 2, axis=1).repeat(14, axis=0), RATE)
    blocks = list(decode_blocks(file))
    assert len(blocks) == 2  # of at most 2 ** 20 values each
    expected, _ = soundfile.read(file, dtype="float32")
    assert np.array_equal(np.concatenate(blocks), expected)


def test_blocks_tell_at_their_end_that_a_file_was_cut_short(tmp_path, noise):
    file = tmp_path / "a.flac"
    soundfile.write(file, noise.repeat(50), RATE)
    file.write_bytes(file.read_bytes()[: 3 * file.stat().st_size // 4])
    came = []
    with pytest.raises(CoppiceError, match=r"a\.flac is cut short"):
        came.extend(decode_blocks(file))
    assert came
