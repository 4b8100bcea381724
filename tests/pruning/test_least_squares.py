"""Rows and ridge regression against NumPy, and layers as matrices against PyTorch's own convolutions."""

import numpy as np
import pytest
import torch
from torch import nn

from coppice.pruning.compensation import readers
from coppice.pruning.compensation.least_squares import PARTS, RIDGES, Sums, fit, ridge_fits
from coppice.pruning.compensation.readers import from_columns, groups_of, rows_and_targets, to_columns

LAYERS = {
    "plain": (nn.Conv2d(3, 4, 3, padding=1), (3, 7, 8)),
    "strided, dilated, grouped": (nn.Conv2d(4, 6, (3, 5), (2, 1), (1, 2), (1, 2), groups=2), (4, 11, 13)),
    "depthwise with multiplier": (nn.Conv2d(4, 8, 3, groups=4), (4, 6, 7)),
    "same": (nn.Conv1d(4, 6, 4, padding="same", dilation=3), (4, 11)),
    "circular": (nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), (2, 6, 7)),
    "reflected": (nn.Conv1d(2, 3, 5, padding=2, padding_mode="reflect"), (2, 9)),
    "three axes": (nn.Conv3d(2, 3, (1, 2, 3)), (2, 4, 5, 6)),
    "transposed": (nn.ConvTranspose1d(4, 6, 4, 2, 1, dilation=2), (4, 9)),
    "transposed, grouped": (nn.ConvTranspose2d(4, 6, (2, 3), (2, 3), (0, 1), (1, 0), groups=2), (4, 5, 6)),
    "transposed, three axes": (nn.ConvTranspose3d(2, 4, 2, 2, groups=2), (2, 3, 4, 3)),
    "linear": (nn.Linear(5, 3), (7, 5)),
    "linear on clips": (nn.Linear(5, 3), (5,)),
}


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("most_numbers", [2**23, 100])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_its_matrix_on_its_rows(name, most_numbers, monkeypatch):
    monkeypatch.setattr(readers, "MOST_NUMBERS", most_numbers)
    layer, shape = LAYERS[name]
    layer = layer.double()
    given = torch.randn(3, *shape, dtype=torch.float64)
    made = layer(given)
    bias = layer.bias.view(groups_of(layer), 1, -1)
    pieces = list(rows_and_targets(layer, given, made))
    for rows, targets in pieces:
        torch.testing.assert_close(rows @ to_columns(layer, layer.weight) + bias, targets, rtol=0, atol=1e-12)
    assert sum(targets.numel() for _, targets in pieces) == made.numel()
    assert torch.equal(from_columns(layer, to_columns(layer, layer.weight), layer.weight.shape), layer.weight)
    if most_numbers == 100:
        assert len(pieces) > 1 or name == "linear on clips"


def problem(seed, rows=60, columns=5, outputs=3):
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, columns)) @ random.normal(size=(columns, columns)) + random.normal(size=columns)
    return x, random.normal(size=(rows, outputs)) + x[:, :1], random.normal(size=(columns, outputs))


def sums(x, y):
    return Sums.of(torch.from_numpy(x)[None], torch.from_numpy(y)[None])


@pytest.mark.parametrize("ridge", [1e-9, 0.1, 30.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_ridge_towards_a_start_is_lstsq_on_added_rows(ridge, seed):
    x, y, start = problem(seed)
    weight = np.sqrt(ridge * np.trace(x.T @ x) / 5)
    stacked = np.vstack([x, weight * np.eye(5)]), np.vstack([y, weight * start])
    expected = np.linalg.lstsq(*stacked, rcond=None)[0]
    (found,) = ridge_fits(sums(x, y), torch.from_numpy(start)[None], (ridge,))
    np.testing.assert_allclose(found[0].numpy(), expected, rtol=1e-7, atol=1e-10)


def test_a_vanishing_ridge_with_a_bias_is_lstsq_with_a_column_of_ones():
    x, y, start = problem(7)
    matrix, bias, _ = fit([sums(x, y)], torch.from_numpy(start)[None], ridge=1e-13, bias=True)
    expected = np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]), y, rcond=None)[0]
    np.testing.assert_allclose(matrix[0].numpy(), expected[:-1], rtol=1e-7)
    np.testing.assert_allclose(bias[0].numpy(), expected[-1], rtol=1e-7)


def test_fewer_rows_than_columns_still_have_one_answer_near_the_start():
    x, y, start = problem(3, rows=3)
    (found,) = ridge_fits(sums(x, y), torch.from_numpy(start)[None], (1e-9,))
    expected = start + np.linalg.pinv(x) @ (y - x @ start)
    np.testing.assert_allclose(found[0].numpy(), expected, rtol=1e-4, atol=1e-5)


def test_rows_of_zeros_leave_the_start():
    start = torch.randn(1, 4, 2, dtype=torch.float64)
    (found,) = ridge_fits(Sums.of(torch.zeros(1, 9, 4).double(), torch.randn(1, 9, 2).double()), start, (0.1,))
    assert torch.equal(found, start)


@pytest.mark.parametrize("bias", [True, False])
def test_the_ridge_is_the_one_with_the_least_error_on_parts_left_out(bias):
    x, y, start = problem(11, rows=20, columns=8)
    parts = [(x[i : i + 4], y[i : i + 4]) for i in range(0, 20, 4)]
    assert len(parts) == PARTS
    errors = np.zeros(len(RIDGES) + 1)
    for held in range(PARTS):
        known = [np.vstack(some) for some in zip(*(p for i, p in enumerate(parts) if i != held), strict=True)]
        means = [some.mean(0) if bias else np.zeros(some.shape[1]) for some in known]
        left, right = known[0] - means[0], known[1] - means[1]
        scale = np.trace(left.T @ left) / 8
        fits = [
            start + np.linalg.solve(left.T @ left + ridge * scale * np.eye(8), left.T @ (right - left @ start))
            for ridge in RIDGES
        ]
        for place, matrix in enumerate([*fits, start]):
            made = (parts[held][0] - means[0]) @ matrix + means[1]
            errors[place] += ((made - parts[held][1]) ** 2).sum()
    _, _, chosen = fit([sums(*part) for part in parts], torch.from_numpy(start)[None], ridge=None, bias=bias)
    best = int(errors.argmin())
    assert chosen == (RIDGES[best] if best < len(RIDGES) else None)


def test_pure_noise_leaves_the_weights_where_they_are():
    random = np.random.default_rng(0)
    start = random.normal(size=(30, 1))
    x = random.normal(size=(40, 30))
    y = x @ start + 50 * random.normal(size=(40, 1))
    parts = [sums(x[i::5], y[i::5]) for i in range(5)]
    matrix, _, chosen = fit(parts, torch.from_numpy(start)[None], ridge=None, bias=False)
    assert chosen is None or chosen >= 1
    assert np.abs(matrix[0].numpy() - start).max() < 2
