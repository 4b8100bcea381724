"""The front end as a graph against log_mel in float64, in torch and, exported, in ONNX Runtime."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from coppice.audio.front_end import front_end
from coppice.audio.log_mel import log_mel
from coppice.audio.presets import PRESETS
from coppice.core.errors import CoppiceError
from coppice.export.front_end_graph import FrontEndGraph
from coppice.export.onnx import onnx_model
from coppice.networks.classifier import Classifier
from quick import quick


def clips(samples: int) -> torch.Tensor:
    """Noise at three levels, a sweep with noise, and silence."""
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(4, samples, generator=generator) * torch.tensor([[0.3], [1e-2], [1e-5], [1e-3]])
    time = torch.arange(samples) / samples
    noise[3] += 0.5 * torch.sin(2 * torch.pi * 0.2 * samples * time**2)
    return torch.cat([noise, torch.zeros(1, samples)])


def assert_our_log_mel(found, waveforms, ear):
    """Within 1e-4 of float64, or as far from it as float32: beside a loud tone, weak bands drown in rounding."""
    for picture, waveform in zip(torch.as_tensor(found), waveforms, strict=True):
        exact = log_mel(waveform, ear, dtype=torch.float64)
        rounding = (log_mel(waveform, ear) - exact).abs().max()
        assert torch.isfinite(picture).all()
        assert (picture - exact).abs().max() < 1e-4 + 10 * rounding


class Passed(nn.Module):
    """Takes log-mel through as logits."""

    def forward(self, x):
        return x.flatten(1)


@pytest.mark.parametrize("preset", quick(PRESETS, "dcase2024"))
def test_each_preset_gives_our_log_mel_inside_an_exported_file(preset, run):
    ear = front_end(preset, duration_s=0.3)
    plain = Classifier(Passed(), ear, ("a", "b"), torch.zeros(ear.n_mels), torch.ones(ear.n_mels))
    waveforms = clips(ear.samples)
    found = run(onnx_model(plain, with_front_end=True).content, waveforms.numpy())["logits"]
    assert_our_log_mel(found.reshape(-1, *ear.shape), waveforms, ear)


@given(
    n_fft=st.integers(20, 300),
    share=st.floats(0.2, 1),
    hop=st.integers(1, 400),
    constants=st.fixed_dictionaries(
        {
            "pad_mode": st.sampled_from(["reflect", "constant"]),
            "drop_last_frame": st.booleans(),
            "power": st.sampled_from([1.0, 2.0]),
            "preemphasis": st.sampled_from([0.0, 0.97]),
            "waveform_offset": st.sampled_from([0.0, 1e-6]),
            "log": st.sampled_from(["natural", "decibel"]),
            "log_floor": st.sampled_from([0.0, 1e-7]),
            "clip_scaling": st.sampled_from([None, "peak_int16"]),
        }
    ),
)
@settings(max_examples=30, deadline=None, derandomize=True)
def test_free_constants_give_our_log_mel(n_fft, share, hop, constants):
    ear = front_end(
        "logmel",
        sample_rate=8000,
        n_fft=n_fft,
        win_length=max(5, int(share * n_fft)),
        hop_length=hop,
        n_mels=2,
        fmin_hz=0.0,
        mel_norm=None,
        log_offset=1e-6,
        duration_s=0.1,
        **constants,
    )
    waveforms = clips(ear.samples)
    assert_our_log_mel(FrontEndGraph(ear)(waveforms), waveforms, ear)


@pytest.mark.parametrize("preset", PRESETS)
def test_recordings_like_noise_and_silence_differ_by_less_than_a_ten_thousandth(preset):
    ear = front_end(preset, duration_s=0.3)
    waveforms = clips(ear.samples)[[0, 1, 2, 4]]
    exact = torch.stack([log_mel(waveform, ear, dtype=torch.float64) for waveform in waveforms])
    torch.testing.assert_close(FrontEndGraph(ear)(waveforms).double(), exact, rtol=0, atol=1e-4)


def test_a_size_without_small_factors_is_refused():
    with pytest.raises(CoppiceError, match="n_fft is 32749"):
        FrontEndGraph(front_end("logmel", n_fft=32749, win_length=32749, duration_s=2.0))
