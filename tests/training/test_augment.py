"""Augmentations against references in NumPy float64, and what they are drawn from."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coppice.audio.front_end import front_end
from coppice.audio.log_mel import log_mel
from coppice.core.errors import CoppiceError
from coppice.training.augment.augmenter import Augmenter
from coppice.training.augment.device_ir import DeviceCopies, draw_copies
from coppice.training.augment.freq_mixstyle import Mix, draw_mix, freq_mixstyle
from coppice.training.augment.gain import draw_gains, gain, silence
from coppice.training.augment.settings import (
    Augment,
    DeviceIR,
    FreqMixStyle,
    Gain,
    SpecAugment,
    TimeRoll,
)
from coppice.training.augment.spec_augment import draw_masks, spec_augment
from coppice.training.augment.time_roll import draw_shifts, time_roll

EARS = front_end("dcase2021", duration_s=0.5)


@pytest.fixture
def random():
    return np.random.default_rng(7)


@pytest.fixture
def clips():
    return torch.randn(6, 1, 40, 25, dtype=torch.float64)


def test_a_roll_is_that_of_numpy(clips, random):
    shifts = draw_shifts(random, 6, most=30)
    rolled = time_roll(clips, shifts)
    for one, before, shift in zip(rolled.numpy(), clips.numpy(), shifts, strict=True):
        assert np.array_equal(one, np.roll(before, shift, axis=-1))


def test_shifts_are_even_and_reach_both_ends(random):
    counts = np.bincount(draw_shifts(random, 13_000, most=6) + 6, minlength=13)
    assert len(counts) == 13 and counts.min() > 850 and counts.max() < 1150


def test_rolling_frames_equals_rolling_the_waveform_away_from_the_seam():
    ears = front_end("dcase2024", duration_s=1.0)
    waveform = torch.randn(32_000, generator=torch.Generator().manual_seed(0))
    rolled = log_mel(waveform.roll(5 * ears.hop_length), ears, dtype=torch.float64)
    ours = time_roll(log_mel(waveform, ears, dtype=torch.float64)[None, None], np.array([5]))[0, 0]
    reach = -(-ears.n_fft // 2 // ears.hop_length)
    inside = slice(5 + reach + 1, ears.shape[1] - reach - 1)
    torch.testing.assert_close(ours[:, inside], rolled[:, inside], rtol=0, atol=1e-9)


def test_masks_are_drawn_as_torchaudio_draws_them(random):
    again = np.random.default_rng(7)
    mask = draw_masks(random, 50, size=64, masks=2, most=20)
    width, free = again.random((50, 2)) * 20, again.random((50, 2))
    expected = np.zeros((50, 64), bool)
    for clip in range(50):
        for one in range(2):
            start = int(free[clip, one] * (64 - width[clip, one]))
            expected[clip, start : start + int(width[clip, one])] = True
    assert np.array_equal(mask, expected) and mask.any(axis=1).mean() > 0.9
    assert not draw_masks(random, 3, size=5, masks=0, most=4).any()


@given(
    clips=st.integers(1, 5),
    size=st.integers(1, 300),
    masks=st.integers(0, 4),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**31),
)
def test_no_clip_loses_more_than_its_masks_are_wide(clips, size, masks, share, seed):
    most = int(share * size)
    mask = draw_masks(np.random.default_rng(seed), clips, size=size, masks=masks, most=most)
    assert mask.shape == (clips, size)
    assert mask.sum(axis=1).max() <= masks * max(most - 1, 0)


def test_masked_bands_and_frames_are_filled_band_by_band(clips, random):
    bands = draw_masks(random, 6, size=40, masks=1, most=20)
    frames = draw_masks(random, 6, size=25, masks=2, most=9)
    fill = torch.linspace(-9, -5, 40, dtype=torch.float64)
    expected = clips.numpy().copy()
    for clip in range(6):
        expected[clip, 0, bands[clip]] = fill.numpy()[bands[clip], None]
        expected[clip, 0][:, frames[clip]] = fill.numpy()[:, None]
    before = clips.clone()
    assert np.array_equal(spec_augment(clips, bands=bands, frames=frames, fill=fill).numpy(), expected)
    assert torch.equal(clips, before)


def test_filling_with_silence_equals_masking_the_energies_before_the_logarithm():
    ears = front_end("dcase2024", duration_s=1.0)
    energies = torch.rand(256, 65, dtype=torch.float64)
    masked = energies.clone()
    masked[30:70] = 0
    bands = np.zeros((1, 256), bool)
    bands[0, 30:70] = True
    picture = (energies + 1e-5).log()[None, None]
    fill = torch.full((256,), silence(ears), dtype=torch.float64)
    ours = spec_augment(picture, bands=bands, frames=np.zeros((1, 65), bool), fill=fill)
    torch.testing.assert_close(ours[0, 0], (masked + 1e-5).log(), rtol=0, atol=1e-12)


def mixstyle_reference(x, own, other):
    """Freq-MixStyle with axes (clip, channel, band, frame), loops over clips and bands."""
    out = np.empty_like(x)
    for clip in range(len(x)):
        for band in range(x.shape[2]):
            mine, theirs = x[clip, :, band], x[other[clip], :, band]
            mine_sd, theirs_sd = (np.sqrt(v.var(ddof=1) + 1e-6) for v in (mine, theirs))
            mean = own[clip] * mine.mean() + (1 - own[clip]) * theirs.mean()
            sd = own[clip] * mine_sd + (1 - own[clip]) * theirs_sd
            out[clip, :, band] = (mine - mine.mean()) / mine_sd * sd + mean
    return out


@pytest.mark.parametrize("channels", [1, 2])
def test_freq_mixstyle_is_that_of_the_published_code(random, channels):
    x = torch.randn(5, channels, 8, 12, dtype=torch.float64) * 3 - 7
    mix = draw_mix(random, 5, probability=1.0, alpha=0.3)
    expected = mixstyle_reference(x.numpy(), mix.own, mix.other)
    np.testing.assert_allclose(freq_mixstyle(x, mix).numpy(), expected, rtol=0, atol=1e-12)


def test_no_gradient_goes_through_the_statistics():
    x = torch.randn(3, 1, 4, 6, dtype=torch.float64, requires_grad=True)
    freq_mixstyle(x, Mix(np.ones(3), np.array([1, 2, 0]))).sum().backward()
    assert torch.allclose(x.grad, torch.ones_like(x))  # through them it would be another one


def test_a_batch_is_mixed_or_not_as_a_whole_with_shares_from_beta(random):
    drawn = [draw_mix(random, 8, probability=0.4, alpha=0.3) for _ in range(4000)]
    mixed = [mix for mix in drawn if mix is not None]
    assert len(mixed) / len(drawn) == pytest.approx(0.4, abs=0.03)
    own = np.concatenate([mix.own for mix in mixed])
    assert own.mean() == pytest.approx(0.5, abs=0.02)
    assert own.var() == pytest.approx(1 / (4 * (2 * 0.3 + 1)), rel=0.05)  # of Beta(α, α)
    assert all(sorted(mix.other) == list(range(8)) for mix in mixed[:50])


@pytest.mark.parametrize("preset", ["dcase2021", "dcase2024", "panns32k", "efficientat", "logmel"])
@pytest.mark.parametrize("decibels", [-12.0, 9.0])
def test_gain_equals_the_log_mel_of_the_amplified_waveform(preset, decibels):
    ears = front_end(preset, duration_s=0.5)
    waveform = 0.05 * torch.randn(ears.samples, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    waveform[: ears.samples // 3] *= 1e-4  # near the offset, where adding a constant would be wrong
    before, expected = (log_mel(w, ears, dtype=torch.float64) for w in (waveform, waveform * 10 ** (decibels / 20)))
    ours = gain(before[None, None], np.array([decibels]), ears)[0, 0]
    if ears.log_floor and decibels > 0:  # what lies below the floor is lost
        ours, expected = ours[before > before.min()], expected[before > before.min()]
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-8)


def test_in_float32_gain_is_close(random):
    picture = log_mel(0.1 * torch.randn(EARS.samples), EARS)[None, None]
    exact = gain(picture.double(), np.array([6.0]), EARS)
    torch.testing.assert_close(gain(picture, np.array([6.0]), EARS).double(), exact, rtol=0, atol=1e-4)


def test_copies_take_the_place_of_their_own_clips_with_the_probability(random):
    found = DeviceCopies(np.zeros((9, 1, 1), np.float32), {4: 0, 5: 3, 8: 6}, copies=3)
    batch = np.array([4, 5, 6, 8] * 3000)
    rows = draw_copies(random, batch, found, probability=0.25)
    for clip, first in found.first.items():
        own = rows[batch == clip]
        assert set(own.tolist()) == {-1, first, first + 1, first + 2}
        assert (own >= 0).mean() == pytest.approx(0.25, abs=0.03)
    assert set(rows[batch == 6].tolist()) == {-1}


ALL = Augment(
    device_ir=DeviceIR("unused", probability=0.5),
    gain=Gain(6.0),
    time_roll=TimeRoll(0.1),
    spec_augment=SpecAugment(1, 8, 1, 5),
    freq_mixstyle=FreqMixStyle(0.9, 0.3),
)


@pytest.fixture
def augmenter():
    mean, std = torch.linspace(-9, -4, 40), torch.linspace(1, 3, 40)
    copies = DeviceCopies(np.random.default_rng(1).normal(-6, 2, (12, 40, 25)).astype(np.float32), {0: 0, 1: 6}, 6)
    return Augmenter(ALL, EARS, mean, std, copies, seed=3)


def test_what_is_drawn_depends_on_seed_epoch_and_step_alone(augmenter):
    inputs, clips = torch.randn(4, 1, 40, 25), torch.arange(4)
    first = augmenter(inputs, clips, epoch=2, step=5)
    torch.rand(9)
    np.random.rand(3)  # noqa: NPY002
    assert torch.equal(augmenter(inputs, clips, epoch=2, step=5), first)
    for other in ({"epoch": 3, "step": 5}, {"epoch": 2, "step": 6}):
        assert not torch.equal(augmenter(inputs, clips, **other), first)
    assert not torch.equal(replace(augmenter, seed=4)(inputs, clips, epoch=2, step=5), first)


def test_one_augmentation_more_does_not_change_what_another_one_draws(augmenter):
    inputs = torch.randn(4, 1, 40, 25)
    alone = replace(augmenter, settings=Augment(time_roll=TimeRoll(0.1)))(inputs, epoch=0, step=0)
    both = replace(augmenter, settings=Augment(gain=Gain(1e-9), time_roll=TimeRoll(0.1)))(inputs, epoch=0, step=0)
    torch.testing.assert_close(both, alone, rtol=0, atol=1e-3)


def test_on_normalised_batches_each_augmentation_does_what_it_does_on_log_mel(augmenter):
    raw = torch.randn(4, 1, 40, 25, dtype=torch.float64) * 2 - 6
    mean, std = augmenter.band_mean.double()[:, None], augmenter.band_std.double()[:, None]
    plain = replace(augmenter, band_mean=torch.zeros(40), band_std=torch.ones(40))
    for name in ("device_ir", "gain", "time_roll", "spec_augment", "freq_mixstyle"):
        only = Augment(**{name: getattr(ALL, name)})
        args = {"clips": torch.arange(4), "epoch": 1, "step": 1}
        on_raw = replace(plain, settings=only)(raw, **args)
        normalised = replace(augmenter, settings=only)((raw - mean) / std, **args)
        assert not torch.allclose(on_raw, raw), name
        torch.testing.assert_close(normalised * std + mean, on_raw, rtol=0, atol=1e-4, msg=name)


@pytest.mark.parametrize(
    ("settings", "preset", "sentence"),
    [
        (Augment(gain=Gain(3.0)), "dcase2022", "gain cannot be applied with front end 'dcase2022'"),
        (Augment(spec_augment=SpecAugment()), "dcase2022", "scales each clip by its peak.*leave spec_augment out"),
        (Augment(spec_augment=SpecAugment(1, 48)), "dcase2021", "freq_bands is 48 but the clips have 40 bands"),
        (Augment(spec_augment=SpecAugment(0, 0, 1, 99)), "dcase2021", "time_frames is 99 but the clips have 25 frames"),
        (Augment(time_roll=TimeRoll(0.001)), "dcase2021", "less than half a frame; give at least 0.02"),
    ],
)
def test_what_a_front_end_does_not_allow_is_refused_by_name(settings, preset, sentence):
    ears = front_end(preset, duration_s=0.5)
    with pytest.raises(CoppiceError, match=sentence):
        Augmenter(settings, ears, torch.zeros(ears.n_mels), torch.ones(ears.n_mels))


@pytest.mark.parametrize(
    ("kind", "given", "sentence"),
    [
        (TimeRoll, {"seconds": 0}, "time_roll.seconds is 0"),
        (SpecAugment, {"freq_masks": -1}, "spec_augment.freq_masks is -1"),
        (SpecAugment, {"freq_masks": 0}, "spec_augment masks nothing"),
        (FreqMixStyle, {"probability": 1.5}, "freq_mixstyle.probability is 1.5"),
        (FreqMixStyle, {"alpha": 0}, "freq_mixstyle.alpha is 0"),
        (Gain, {"decibels": float("nan")}, "gain.decibels is nan"),
        (DeviceIR, {"folder": "x", "copies": 0}, "device_ir.copies is 0"),
        (DeviceIR, {"folder": "x", "probability": 0}, "device_ir.probability is 0"),
    ],
)
def test_an_impossible_strength_is_refused_by_name(kind, given, sentence):
    with pytest.raises(CoppiceError, match=sentence):
        kind(**given)


def test_gains_are_even_between_both_ends(random):
    drawn = draw_gains(random, 5000, decibels=12)
    assert drawn.min() < -11.9 and drawn.max() > 11.9 and abs(drawn.mean()) < 0.4
