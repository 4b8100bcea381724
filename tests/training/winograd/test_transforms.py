"""The matrices of minimal filtering."""

import numpy as np
import pytest

from coppice.training.winograd.transforms import OUTPUTS, TAPS, transforms


@pytest.mark.parametrize("taps", TAPS)
def test_products_of_points_give_the_correlation(taps):
    rng = np.random.default_rng(0)
    by = transforms(taps)
    x, w = rng.standard_normal(OUTPUTS + taps - 1), rng.standard_normal(taps)
    found = by.outputs @ ((by.weights @ w) * (by.inputs @ x))
    np.testing.assert_allclose(found, np.correlate(x, w, mode="valid"), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("taps", TAPS)
def test_there_are_as_few_products_as_winograd_proved(taps):
    assert transforms(taps).points == OUTPUTS + taps - 1


@pytest.mark.parametrize("taps", TAPS)
def test_rows_of_a_pair_of_points_differ_in_the_sign_of_every_other_value_alone(taps):
    by = transforms(taps)
    for row in range(1, by.points - 1, 2):
        first, second = by.inputs[row], by.inputs[row + 1]
        assert np.array_equal(first[0::2], second[0::2])
        assert np.array_equal(first[1::2], -second[1::2])
        signs = (-1.0) ** np.arange(OUTPUTS)
        assert np.array_equal(by.outputs[:, row], signs * by.outputs[:, row + 1])


@pytest.mark.parametrize("taps", TAPS)
def test_every_coefficient_is_a_float32_number(taps):
    by = transforms(taps)
    for matrix in (by.inputs, by.outputs):
        assert np.array_equal(matrix, matrix.astype(np.float32))
