import numpy as np
import pytest

from coppice.audio.flaws import Flaws

RATE = 44100


def remarks(*blocks):
    flaws = Flaws()
    for block in blocks:
        sound = np.asarray(block, np.float32)
        flaws.heal(sound if sound.ndim == 2 else sound[:, None])
    return flaws.remarks()


def tone(hertz, peak, seconds=1.0):
    return peak * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)


@pytest.mark.parametrize("peak", [0.01, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("hertz", [100, 440, 5000])
def test_a_tone_that_just_reaches_full_scale_is_not_clipped(hertz, peak):
    assert remarks(np.round(tone(hertz, peak) * 32767) / 32768) == ()


def test_a_tone_that_is_cut_off_at_full_scale_is_clipped():
    cut = tone(440, 1.5).clip(-1, 32767 / 32768)
    (remark,) = remarks(cut)
    share = 100 * np.mean(np.abs(cut) >= 0.9999)
    assert remark == f"clipped: {share:.2f} % of its samples stand at full scale, several in a row"


def test_one_channel_that_is_clipped_is_enough():
    both = np.stack([tone(440, 0.1), tone(440, 3).clip(-1, 1)], axis=1)
    assert remarks(both)[0].startswith("clipped: ")


@pytest.mark.parametrize("cut", range(1, 6))
def test_a_crest_is_found_across_pieces(cut):
    wave = np.array([0, 0.5, 1, 1, 1, 0.5])
    assert remarks(wave[:cut], wave[cut:])[0].startswith("clipped: 50.00 %")
    assert remarks(np.delete(wave, 3)[:cut], np.delete(wave, 3)[cut:]) == ()


def test_a_rare_crest_is_not_called_none():
    wave = np.zeros(RATE)
    wave[100:103] = 1
    assert remarks(wave) == ("clipped: under 0.01 % of its samples stand at full scale, several in a row",)


def test_whole_numbers_that_were_saved_as_real_ones_are_too_loud_not_clipped():
    assert remarks(tone(440, 20000)) == ("far too loud: its largest sample is 2e+04, where 1 is full scale",)


def test_silence_and_what_is_no_number_are_said():
    assert remarks(np.zeros(100)) == ("silent: every sample is 0, so its class means nothing",)
    assert remarks(np.full(100, np.nan)) == (
        "100 samples are NaN or infinite (100.00 %) and taken as 0",
        "silent: every sample is 0, so its class means nothing",
    )
    assert remarks([]) == ()
