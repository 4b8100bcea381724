import numpy as np
import pytest

from coppice.core.errors import CoppiceError
from coppice.datasets.normalization import fit_normalization


def features(clips=300):
    return (np.random.default_rng(0).standard_normal((clips, 4, 6)) * [[1], [5], [0.1], [2]] - 20).astype(np.float32)


def test_mean_and_spread_equal_numpy_in_float64():
    x, rows = features(), np.arange(0, 300, 2)
    fitted = fit_normalization(x, rows)
    wide = x[rows].astype(np.float64)
    assert np.allclose(fitted.mean, wide.mean(axis=(0, 2)), rtol=1e-12)
    assert np.allclose(fitted.std, wide.std(axis=(0, 2)), rtol=1e-12)


def test_only_training_rows_count():
    x = features()
    rows = np.arange(100)
    before = fit_normalization(x, rows)
    x[100:] = np.nan
    after = fit_normalization(x, rows)
    assert np.array_equal(before.mean, after.mean) and np.array_equal(before.std, after.std)


def test_applied_to_its_own_rows_it_gives_mean_0_and_spread_1():
    x = features()
    applied = fit_normalization(x, np.arange(300)).apply(x)
    assert applied.dtype == np.float32
    assert np.allclose(applied.mean(axis=(0, 2)), 0, atol=1e-4) and np.allclose(applied.std(axis=(0, 2)), 1, atol=1e-4)


def test_a_band_that_never_changes_is_not_blown_up():
    x = features()
    x[:, 2] = -36.0
    fitted = fit_normalization(x, np.arange(300))
    assert np.isfinite(fitted.apply(x)).all() and np.abs(fitted.apply(x)[:, 2]).max() == 0


def test_no_rows_and_unusable_rows_are_refused():
    x = features()
    with pytest.raises(CoppiceError, match="at least one training clip"):
        fit_normalization(x, np.array([], dtype=int))
    x[7] = np.nan
    with pytest.raises(CoppiceError, match="features of clip 7"):
        fit_normalization(x, np.arange(20))
