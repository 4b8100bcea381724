"""The tables against NumPy's FFT in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coppice.core.errors import CoppiceError
from coppice.export.fourier import MOST_BYTES, fourier_tables


@given(st.integers(1, 400), st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_every_bin_of_every_size_stands_where_the_tables_say(n_fft, data):
    length = data.draw(st.integers(1, n_fft))
    tables = fourier_tables(n_fft, length)
    frame = np.random.default_rng(n_fft).standard_normal(length)
    padded = np.pad(frame, (0, tables.samples - length)).reshape(-1, tables.columns)
    partial = (tables.first @ padded).reshape(len(tables.bins), 1, -1)
    power = (partial @ tables.real)[:, 0] ** 2 + (partial @ tables.imaginary)[:, 0] ** 2
    expected = np.abs(np.fft.rfft(frame, n_fft)) ** 2
    np.testing.assert_allclose(power, expected[tables.bins], atol=1e-9)
    assert set(tables.bins.ravel()) == set(range(n_fft // 2 + 1))


def test_the_usual_size_takes_fourteen_times_fewer_products_than_one_table():
    tables = fourier_tables(2048, 1764)
    products = tables.first.size * tables.columns + tables.real.size + tables.imaginary.size
    assert 14 * products < 2 * 1025 * 1764


@pytest.mark.parametrize("n_fft", [16384, 4096, 1764, 1021])
def test_tables_stay_small(n_fft):
    tables = fourier_tables(n_fft, n_fft)
    assert 4 * (tables.first.size + tables.real.size + tables.imaginary.size) <= MOST_BYTES


def test_a_large_prime_is_refused_with_what_works():
    with pytest.raises(CoppiceError, match=r"n_fft is 65521.* power of two"):
        fourier_tables(65521, 65521)
