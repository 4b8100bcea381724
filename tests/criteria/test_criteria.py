import math

import numpy as np
import pytest
import torch

from coppice.core.errors import CoppiceError
from coppice.criteria.cosine_similarity import cosine_distances, prototypes
from coppice.criteria.evidence import Evidence
from coppice.criteria.ranking import Ranking
from coppice.criteria.registry import criterion, criterion_names, rank

SHAPES = [
    (16, 1, 7, 7),
    (16, 16, 3, 3),
    (40, 12, 7, 7),
    (33, 3, 5),
    (24, 8, 1, 1),
    (20, 30),
    (18, 4, 2, 3, 3),
]


def weights(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def published_cosine(weight):
    """The Interspeech 2022 method, filter by filter and pair by pair, in float64."""
    filters = len(weight)
    rows = []
    for one in weight.reshape(filters, weight.shape[1], -1):
        u, _, vt = np.linalg.svd(one.T, full_matrices=True)
        column = np.outer(u[:, 0], vt[0])[:, 0]
        rows.append(column / np.linalg.norm(column))
    distances = np.array([[1 - a @ b for b in rows] for a in rows])
    np.fill_diagonal(distances, np.inf)
    distances = distances.round(12)
    nearest = distances.argmin(axis=1)
    delta = distances.min(axis=1)
    important, redundant = [], []
    for index in np.argsort(delta, kind="stable"):
        if index not in redundant:
            important.append(index)
            redundant.append(nearest[index])
    return np.array(rows), tuple(sorted(map(int, important))), delta


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("shape", SHAPES)
def test_cosine_similarity_equals_the_svd_and_double_loop(shape, seed):
    weight = weights(shape, seed)
    rows, keep, delta = published_cosine(weight)
    found = rank(torch.from_numpy(weight), "cosine_similarity")
    np.testing.assert_allclose(prototypes(torch.from_numpy(weight)).numpy(), rows, atol=1e-9)
    assert found.keep == keep
    np.testing.assert_allclose(found.scores, delta, atol=1e-9)


def test_the_cosine_order_is_nested_its_own_set_first():
    found = rank(torch.from_numpy(weights((40, 6, 3, 3))), "cosine_similarity")
    assert found.keep_count(len(found.keep)) == found.keep
    assert 1 <= len(found.keep) < 40


def test_of_two_alike_the_lower_index_survives():
    weight = torch.tensor(weights((4, 3, 3, 3)))
    weight[3] = weight[1] * 2.5
    found = rank(weight, "cosine_similarity")
    assert 1 in found.keep and found.order[0] == 3


def test_scale_does_not_matter_to_cosine_even_at_the_edge_of_the_number_format():
    weight = torch.tensor(weights((20, 5, 3, 3)))
    scale = torch.logspace(-170, 140, 20, dtype=torch.float64)[:, None, None, None]
    assert rank(weight * scale, "cosine_similarity").keep == rank(weight, "cosine_similarity").keep


def test_a_zero_filter_is_at_distance_one_and_nothing_is_nan():
    weight = torch.tensor(weights((6, 3, 3, 3)))
    weight[2] = 0
    weight[:, 0] = 0  # the channel that gives the sign
    vectors = prototypes(weight)
    assert torch.equal(vectors[2], torch.zeros(9, dtype=torch.float64))
    assert cosine_distances(vectors)[2, [0, 1, 3, 4, 5]].tolist() == [1.0] * 5
    assert all(math.isfinite(score) for score in rank(weight, "cosine_similarity").scores)


@pytest.mark.parametrize("name", criterion_names())
@pytest.mark.parametrize("shape", [(1, 3, 3, 3), (2, 1), (5, 4, 3)])
def test_every_criterion_ranks_tiny_layers(name, shape):
    maps = torch.randn(2, shape[0], 4, 5).clamp(min=0)
    read = torch.randn(9, 2 * shape[0])
    evidence = Evidence(
        scale=torch.rand(shape[0]),
        maps=maps,
        gradients=torch.randn(maps.shape),
        read_gram=(read.T @ read).reshape(shape[0], 2, shape[0], 2),
        read_weights=torch.randn(shape[0], 2, 3),
    )
    found = rank(torch.from_numpy(weights(shape)).float(), name, evidence=evidence)
    assert sorted(found.order) == list(range(shape[0]))
    assert found.keep is None or found.keep


@pytest.mark.parametrize("shape", SHAPES)
def test_norms_and_medians_equal_numpy(shape):
    weight = weights(shape)
    flat = weight.reshape(shape[0], -1)
    scores = {
        "l1": np.abs(flat).sum(1),
        "geometric_median": np.sqrt(((flat[:, None] - flat[None]) ** 2).sum(2)).sum(1),
        "geometric_mean_deviation": (np.exp(np.log(np.abs(flat)).mean()) - np.exp(np.log(np.abs(flat)).mean(1))) ** 2,
    }
    for name, expected in scores.items():
        found = rank(torch.from_numpy(weight), name)
        np.testing.assert_allclose(found.scores, expected, rtol=1e-10, atol=1e-14)
        assert found.order == tuple(np.argsort(expected, kind="stable"))
        assert found.keep is None


def test_a_zero_weight_makes_a_geometric_mean_zero():
    weight = torch.tensor([[0.0, 5.0], [1.0, 1.0]])
    assert rank(weight, "geometric_mean_deviation").scores == (0.0, 1.0)


def test_ties_remove_the_lower_index_first():
    assert rank(torch.ones(4, 2), "l1").order == (0, 1, 2, 3)


def test_random_depends_on_the_seed_alone():
    one, two = torch.zeros(30, 2), torch.ones(30, 5)
    assert rank(one, "random", seed=5) == rank(two, "random", seed=5)
    assert rank(one, "random", seed=5) != rank(one, "random", seed=6)


@pytest.mark.parametrize(
    ("weight", "said"),
    [
        (torch.zeros(0, 3), "cannot be ranked"),
        (torch.zeros(3), "cannot be ranked"),
        (torch.zeros(3, 3, dtype=torch.int64), "int64"),
        (torch.tensor([[1.0], [float("nan")]]), "filter 1"),
        (torch.tensor([[float("inf")], [1.0]]), "filter 0"),
    ],
)
def test_weights_that_cannot_be_ranked_are_refused(weight, said):
    with pytest.raises(CoppiceError, match=said):
        rank(weight, "l1")


def test_a_misspelt_criterion_gets_a_hint_and_a_taken_name_is_refused():
    with pytest.raises(CoppiceError, match="Did you mean 'geometric_median'"):
        rank(torch.ones(2, 2), "geometric_medain")
    with pytest.raises(CoppiceError, match="already a criterion 'l1'"):
        criterion("l1")(lambda weight: weight)


@pytest.mark.parametrize(
    ("order", "keep"),
    [((0, 0), None), ((1, 2), None), ((0,), None), ((0, 1), ()), ((0, 1), (1, 0)), ((0, 1), (2,))],
)
def test_an_impossible_ranking_is_refused(order, keep):
    with pytest.raises(CoppiceError, match="ranking by 'mine'"):
        Ranking("mine", order, (0.0, 1.0), keep)


@pytest.mark.parametrize("count", [0, 3, -1])
def test_a_count_out_of_range_is_refused(count):
    with pytest.raises(CoppiceError, match=f"cannot keep {count} of 2"):
        Ranking("mine", (0, 1), (0.0, 1.0)).keep_count(count)
