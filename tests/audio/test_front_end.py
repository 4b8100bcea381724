import dataclasses
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coppice.audio.front_end import FrontEnd, front_end
from coppice.audio.log_mel import log_mel
from coppice.core.errors import CoppiceError
from coppice.core.files import digest


@pytest.mark.parametrize(("duration_s", "frames"), [(10.0, 500), (5.0, 250), (1.0, 50)])
def test_the_last_frame_is_dropped_as_in_the_published_baseline(duration_s, frames):
    assert front_end("dcase2021", duration_s=duration_s).shape == (40, frames)


def test_dcase2021_has_the_published_constants():
    ears = front_end("dcase2021")
    assert (ears.sample_rate, ears.n_fft, ears.win_length, ears.hop_length) == (44100, 2048, 1764, 882)
    assert (ears.window, ears.power, ears.mel_scale, ears.mel_norm) == ("hamming", 1.0, "slaney", "slaney")
    assert (ears.n_mels, ears.fmin_hz, ears.fmax_hz, ears.pad_mode) == (40, 0.0, 22050.0, "reflect")
    assert ears.waveform_offset == ears.log_offset == pytest.approx(2.22e-16, rel=1e-3)


def test_dcase2021_cannot_be_changed_under_its_name():
    with pytest.raises(CoppiceError, match=r"fixes n_mels at 40, not 64; use preset 'logmel'"):
        front_end("dcase2021", n_mels=64)


def test_it_survives_json():
    ears = front_end("logmel", n_mels=32, mel_norm=None, duration_s=2, log_floor=1)
    again = FrontEnd.from_dict(json.loads(json.dumps(ears.to_dict())))
    assert again == ears and hash(again) == hash(ears)
    assert type(again.duration_s) is float


# As checkpoints of version 1 hold it.
VERSION_1 = {
    "version": 1,
    "preset": "dcase2021",
    "sample_rate": 44100,
    "n_fft": 2048,
    "win_length": 1764,
    "hop_length": 882,
    "window": "hamming",
    "n_mels": 40,
    "fmin_hz": 0.0,
    "fmax_hz": 22050.0,
    "mel_scale": "slaney",
    "mel_norm": "slaney",
    "power": 1.0,
    "waveform_offset": 2.220446049250313e-16,
    "log_offset": 2.220446049250313e-16,
    "pad_mode": "reflect",
    "duration_s": 5.0,
    "pad": "zeros",
}


def test_a_dictionary_of_version_1_means_what_it_meant():
    ears = FrontEnd.from_dict(VERSION_1)
    assert ears == front_end("dcase2021", duration_s=5.0)
    assert (ears.drop_last_frame, ears.log, ears.log_divisor, ears.clip_scaling) == (True, "natural", 1.0, None)


def test_what_version_1_can_hold_keeps_its_digest():
    assert digest(front_end("dcase2021", duration_s=5.0).to_dict()) == digest(VERSION_1)
    assert front_end("logmel").to_dict()["version"] == 1
    assert front_end("logmel", log_floor=1e-10).to_dict()["version"] == 2


def test_version_1_has_no_later_setting():
    with pytest.raises(CoppiceError, match="no setting 'log_divisor'"):
        FrontEnd.from_dict({**VERSION_1, "log_divisor": 5.0})


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    n_fft=st.integers(16, 70),
    hop=st.integers(1, 80),
    pad_mode=st.sampled_from(["reflect", "constant"]),
    drop=st.booleans(),
    preemphasis=st.sampled_from([0.0, 0.97]),
    extra=st.integers(0, 200),
)
def test_the_promised_frames_come_out(n_fft, hop, pad_mode, drop, preemphasis, extra):
    ears = front_end(
        "logmel",
        n_fft=n_fft,
        win_length=n_fft,
        hop_length=hop,
        pad_mode=pad_mode,
        drop_last_frame=drop,
        preemphasis=preemphasis,
        n_mels=1,
    )
    samples = ears.min_samples + extra
    assert log_mel(torch.ones(samples), ears).shape == (1, ears.frames_of(samples))
    with pytest.raises(CoppiceError, match=f"at least {ears.min_samples}"):
        log_mel(torch.ones(ears.min_samples - 1), ears)


@pytest.mark.parametrize(
    ("setting", "saying"),
    [
        ({"fmax_hz": 20000.0}, "at 32000 Hz give at most 16000"),
        ({"fmin_hz": 9000.0, "fmax_hz": 8000.0}, "0 <= fmin_hz < fmax_hz"),
        ({"fmin_hz": -1.0}, "0 <= fmin_hz < fmax_hz"),
        ({"hop_length": 0}, "hop_length is 0"),
        ({"n_mels": 0}, "n_mels is 0"),
        ({"n_mels": 2.5}, "n_mels is 2.5"),
        ({"n_mels": True}, "n_mels is True"),
        ({"n_mels": 1000}, "mel bands"),
        ({"n_mels": 100000}, "at most 1024"),
        ({"win_length": 4096}, "longer than n_fft 2048"),
        ({"n_fft": 1 << 20}, "at most 65536"),
        ({"sample_rate": 10}, "give 1000 to 192000"),
        ({"window": "kaiser"}, "'hamming' or 'hann'"),
        ({"power": 3.0}, "1.0 or 2.0"),
        ({"power": "2"}, "give a number"),
        ({"pad_mode": "edge"}, "'reflect' or 'constant'"),
        ({"resampler": "linear"}, "'soxr_hq' or 'sinc_hann'"),
        ({"preemphasis": 1.5}, "0 for none"),
        ({"window_periodic": 1}, "true or false"),
        ({"drop_last_frame": "yes"}, "true or false"),
        ({"win_length": 2, "window_periodic": False}, "at least 3"),
        ({"log": "log2"}, "'natural' or 'decibel'"),
        ({"log_floor": -1.0}, "log_floor is -1"),
        ({"log_divisor": 0.0}, "above 0"),
        ({"log_shift": "4"}, "give a number"),
        ({"clip_scaling": "peak"}, "'peak_int16' or None"),
        ({"mel_scale": "kaldi"}, "set mel_norm to none"),
        ({"pad": "mirror"}, "'zeros' or 'repeat'"),
        ({"mel_scale": "bark"}, "'slaney' or 'htk' or 'kaldi'"),
        ({"mel_norm": "area"}, "'slaney' or None"),
        ({"log_offset": 0.0}, "one of them above 0"),
        ({"log_offset": float("nan")}, "give a number"),
        ({"waveform_offset": -1.0}, "waveform_offset is -1"),
        ({"duration_s": 0.0}, "duration_s is 0"),
        ({"duration_s": 0.01}, "too short for one frame"),
        ({"duration_s": float("inf")}, "give a number"),
        ({"n_mel": 4}, "Did you mean 'n_mels'"),
    ],
)
def test_a_value_that_cannot_be_is_refused_in_one_sentence(setting, saying):
    with pytest.raises(CoppiceError) as caught:
        front_end("logmel", **setting)
    assert saying in str(caught.value) and "\n" not in str(caught.value)


def test_an_unknown_preset_is_refused():
    with pytest.raises(CoppiceError, match="Did you mean 'panns32k'"):
        front_end("panns32")


def test_a_dictionary_is_checked_key_by_key():
    values = front_end("logmel").to_dict()
    with pytest.raises(CoppiceError, match=r"no setting 'n_mel'. Did you mean 'n_mels'"):
        FrontEnd.from_dict({**values, "n_mel": 3})
    with pytest.raises(CoppiceError, match="lacks 'hop_length'"):
        FrontEnd.from_dict({key: value for key, value in values.items() if key != "hop_length"})
    with pytest.raises(CoppiceError, match="version is 3"):
        FrontEnd.from_dict({**values, "version": 3})
    with pytest.raises(CoppiceError, match="not list"):
        FrontEnd.from_dict([1])


VALUES = st.none() | st.booleans() | st.integers(-10, 10**6) | st.floats() | st.text(max_size=5) | st.just([1])


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    name=st.sampled_from([field.name for field in dataclasses.fields(FrontEnd)]),
    value=VALUES,
)
def test_any_value_is_accepted_or_refused_never_a_crash(name, value):
    values = {**dataclasses.asdict(front_end("logmel")), "version": 2, name: value}
    try:
        ears = FrontEnd.from_dict(values)
    except CoppiceError:
        return
    assert ears.shape[0] >= 1 and ears.shape[1] >= 1
