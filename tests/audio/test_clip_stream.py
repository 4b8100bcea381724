from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coppice.audio.clip_stream import ClipStream
from coppice.audio.front_end import front_end
from coppice.audio.length import fit_length
from coppice.audio.resample import resample
from coppice.core.errors import CoppiceError

RATE, LENGTH = 8000, 2000
EAR = front_end("logmel", sample_rate=RATE, n_fft=256, win_length=256, hop_length=128, n_mels=8, duration_s=0.25)


def noise(samples, channels=1):
    return np.random.default_rng(samples).uniform(-0.5, 0.5, (samples, channels)).astype(np.float32)


def clips_of(sound, pieces, rate=RATE, hop_s=None, ear=EAR):
    stream = ClipStream(ear, sample_rate=rate, hop_s=hop_s)
    found = [clip for piece in np.split(sound, pieces) for clip in stream.push(piece)]
    return [*found, *stream.finish()], stream


def all_at_once(waveform, hop):
    """Windows of a waveform that is there as a whole, the last one where it ends."""
    if len(waveform) <= LENGTH:
        return [0], [fit_length(waveform, samples=LENGTH)]
    starts = list(range(0, len(waveform) - LENGTH + 1, hop))
    if starts[-1] != len(waveform) - LENGTH:
        starts.append(len(waveform) - LENGTH)
    return starts, [waveform[start : start + LENGTH] for start in starts]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    samples=st.integers(1, 9000),
    hop=st.integers(1, LENGTH).map(lambda hop: max(hop, 60)),
    rate=st.sampled_from([RATE, 11025, 6000]),
    resampler=st.sampled_from(["soxr_hq", "sinc_hann"]),
    cuts=st.lists(st.integers(0, 9000), max_size=6),
)
def test_clips_are_the_same_however_the_sound_arrives(samples, hop, rate, resampler, cuts):
    sound = noise(samples)
    ear = replace(EAR, resampler=resampler)
    waveform = resample(sound[:, 0], from_hz=rate, to_hz=RATE, resampler=resampler)
    clips, _ = clips_of(sound, sorted(min(cut, samples) for cut in cuts), rate, hop / RATE, ear)
    if not len(waveform):
        assert not clips
        return
    starts, windows = all_at_once(waveform, hop)
    assert [clip.start_s for clip in clips] == [start / RATE for start in starts]
    assert np.array_equal(np.stack([clip.waveform for clip in clips]), np.stack(windows))
    assert clips[-1].end_s == len(waveform) / RATE


def test_channels_are_averaged_and_what_is_no_number_is_taken_as_0():
    sound = noise(LENGTH, channels=2)
    sound[7] = np.nan
    sound[8, 0] = np.inf
    (clip,), stream = clips_of(sound, [])
    expected = np.where(np.isfinite(sound), sound, 0).mean(axis=1)
    assert np.array_equal(clip.waveform, expected)
    assert stream.remarks() == ("3 samples are NaN or infinite (0.07 %) and taken as 0",)


@pytest.mark.parametrize(("pad", "how"), [("zeros", "filled up with silence"), ("repeat", "filled up by repeating it")])
def test_a_sound_shorter_than_a_clip_is_filled_up_and_said_so(pad, how):
    (clip,), stream = clips_of(noise(500), [], ear=replace(EAR, pad=pad))
    assert stream.padded
    assert (clip.start_s, clip.end_s) == (0, 0.0625)
    assert np.array_equal(clip.waveform, fit_length(noise(500)[:, 0], samples=LENGTH, pad=pad))
    assert stream.remarks() == (f"0.06 s long, shorter than a clip of 0.25 s: {how}",)


def test_what_was_done_to_the_sound_is_said():
    assert clips_of(noise(3 * LENGTH), [])[1].remarks() == ()
    assert clips_of(noise(6 * LENGTH), [], rate=16000)[1].remarks() == ("resampled from 16000 Hz to 8000 Hz",)
    # A codec rounds lengths: less than a hop of the front end is not worth a word.
    clips, stream = clips_of(noise(LENGTH - 20), [])
    assert (len(clips), stream.padded, stream.remarks()) == (1, True, ())


def test_no_sound_gives_no_clip():
    assert clips_of(noise(1)[:0], [])[0] == []


@pytest.mark.parametrize("hop_s", [0, -1, 0.26, float("nan")])
def test_a_hop_that_cannot_be_is_refused(hop_s):
    with pytest.raises(CoppiceError, match=r"the hop is .* give more than 0 and at most 0\.25"):
        ClipStream(EAR, sample_rate=RATE, hop_s=hop_s)


def test_little_more_than_a_clip_is_held():
    stream = ClipStream(EAR, sample_rate=RATE)
    for _ in range(40):
        list(stream.push(noise(LENGTH)))
    assert stream._held.base is None
    assert stream._held.size <= LENGTH
    assert stream.heard_s == 10
