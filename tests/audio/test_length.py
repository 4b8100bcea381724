import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coppice.audio.length import fit_length, length_change
from coppice.core.errors import CoppiceError


@settings(max_examples=60, deadline=None, derandomize=True)
@given(given_samples=st.integers(1, 50), wanted=st.integers(1, 120), pad=st.sampled_from(["zeros", "repeat"]))
def test_the_length_is_exact_and_the_start_is_kept(given_samples, wanted, pad):
    wave = np.arange(1, given_samples + 1, dtype=np.float32)
    fitted = fit_length(wave, samples=wanted, pad=pad)
    kept = min(given_samples, wanted)
    rest = np.zeros(wanted - kept) if pad == "zeros" else np.tile(wave, 121)[kept:wanted]
    assert fitted.dtype == np.float32 and fitted.shape == (wanted,)
    assert np.array_equal(fitted, np.concatenate([wave[:kept], rest]))


def test_what_cannot_be_fitted_is_refused():
    wave = np.ones(3, dtype=np.float32)
    with pytest.raises(CoppiceError, match="pad is 'mirror'"):
        fit_length(wave, samples=5, pad="mirror")
    with pytest.raises(CoppiceError, match="0 samples"):
        fit_length(wave, samples=0)
    with pytest.raises(CoppiceError, match="no samples"):
        fit_length(wave[:0], samples=5)


def test_a_difference_within_the_tolerance_is_no_change():
    changes = [length_change(given, wanted_s=5.0, tolerance_s=0.02) for given in (4.97, 4.99, 5.0, 5.01, 5.03)]
    assert changes == ["padded", "kept", "kept", "kept", "cut"]
