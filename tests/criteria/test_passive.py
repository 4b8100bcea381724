"""Passive criteria against their definitions in NumPy, on layers of every shape, and under permutation."""

import networkx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.criteria import references

from coppice.core.errors import CoppiceError
from coppice.criteria.betweenness import betweenness_centrality
from coppice.criteria.evidence import Evidence
from coppice.criteria.nystrom import approximate_vectors, nystrom, spread_columns
from coppice.criteria.operator_norm import operator_norm
from coppice.criteria.prototypes import prototypes
from coppice.criteria.registry import rank

SHAPES = [
    (16, 1, 7, 7),
    (16, 16, 3, 3),
    (40, 12, 7, 7),
    (33, 3, 5),
    (24, 8, 1, 1),
    (20, 30),
    (18, 4, 2, 3, 3),
    (9, 70, 9),
]
ORDER_FREE = [
    "absolute_weighted_degree",
    "betweenness",
    "cosine_similarity",
    "geometric_mean_deviation",
    "geometric_median",
    "l1",
    "l2",
    "nystrom_spread",
    "operator_norm_order_free",
    "weighted_degree",
]


def weights(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_l2_equals_numpy(shape):
    weight = weights(shape)
    expected = np.sqrt((weight.reshape(len(weight), -1) ** 2).sum(axis=1))
    np.testing.assert_allclose(rank(torch.from_numpy(weight), "l2").scores, expected, rtol=1e-12)


def test_l2_of_the_largest_and_smallest_numbers_is_finite():
    assert rank(torch.tensor([[3e200, 4e200], [3e-200, 4e-200]], dtype=torch.float64), "l2").scores == pytest.approx(
        (5e200, 5e-200), rel=1e-12
    )


def test_bn_scale_orders_by_the_absolute_scale_and_needs_one():
    weight = torch.zeros(4, 2)
    assert rank(weight, "bn_scale", evidence=Evidence(scale=torch.tensor([0.3, -0.1, 0.0, -2.0]))).order == (2, 1, 0, 3)
    with pytest.raises(CoppiceError, match="'bn_scale' needs a batch normalisation behind the layer"):
        rank(weight, "bn_scale")


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if np.prod(shape[2:]) > 1])
@pytest.mark.parametrize("name", ["operator_norm", "operator_norm_order_free"])
def test_operator_norm_equals_one_svd_per_channel(shape, name):
    weight = weights(shape)
    expected = references.operator_norm(weight, order_free=name.endswith("free"))
    np.testing.assert_allclose(rank(torch.from_numpy(weight), name).scores, expected, rtol=1e-8, atol=1e-12)


def test_the_first_filter_decides_the_released_operator_norm_of_several_channels():
    # Its projections are summed with a positive sign in every channel: in first place most filters come out on top.
    weight = torch.from_numpy(weights((12, 16, 3, 3)))
    firsts = [
        rank(weight[[index, *(other for other in range(12) if other != index)]], "operator_norm").order[-1]
        for index in range(12)
    ]
    assert firsts.count(0) >= 9
    single = torch.from_numpy(weights((12, 1, 3, 3)))
    assert rank(single.flip(0), "operator_norm").scores == pytest.approx(rank(single, "operator_norm").scores[::-1])
    assert rank(single, "operator_norm").order == rank(single, "operator_norm_order_free").order


def test_an_unknown_orientation_is_refused():
    with pytest.raises(CoppiceError, match=r"orientation is 'frist_filter'\. Did you mean 'first_filter'"):
        operator_norm(torch.ones(2, 2), orientation="frist_filter")


@pytest.mark.parametrize("shape", SHAPES)
def test_degrees_equal_sums_over_the_matrix_of_similarities(shape):
    weight = weights(shape)
    similar = references.prototypes(weight) @ references.prototypes(weight).T
    np.fill_diagonal(similar, 0)
    for name, sums in {"weighted_degree": similar.sum(1), "absolute_weighted_degree": abs(similar).sum(1)}.items():
        found = rank(torch.from_numpy(weight), name)
        np.testing.assert_allclose(found.scores, -sums, atol=1e-9)
        assert found.order == tuple(np.argsort(-sums.round(10), kind="stable"))


def networkx_betweenness(lengths):
    graph = networkx.Graph()
    graph.add_nodes_from(range(len(lengths)))
    graph.add_weighted_edges_from((i, j, lengths[i, j]) for i in range(len(lengths)) for j in range(i))
    return list(networkx.betweenness_centrality(graph, weight="weight").values())


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 24), st.integers(1, 6), st.booleans(), st.integers(0, 10**6))
def test_betweenness_equals_networkx_for_lengths_of_any_sign(nodes, size, positive, seed):
    vectors = weights((nodes, size), seed)
    lengths = np.triu(vectors @ vectors.T, 1)
    lengths = np.abs(lengths + lengths.T) if positive else lengths + lengths.T
    np.testing.assert_allclose(betweenness_centrality(lengths), networkx_betweenness(lengths), atol=1e-12)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(3, 12), st.integers(0, 10**6))
def test_betweenness_shares_paths_of_equal_length(nodes, seed):
    lengths = np.triu(np.random.default_rng(seed).integers(1, 4, (nodes, nodes)).astype(float), 1)
    lengths = lengths + lengths.T
    np.testing.assert_allclose(betweenness_centrality(lengths), networkx_betweenness(lengths), atol=1e-12)


def test_the_most_central_filter_of_the_graph_goes_first():
    vectors = references.prototypes(weights((16, 8, 3, 3)))
    lengths = np.triu(vectors @ vectors.T, 1)
    central = np.array(networkx_betweenness(lengths + lengths.T))
    found = rank(torch.from_numpy(weights((16, 8, 3, 3))), "betweenness")
    np.testing.assert_allclose(found.scores, -central, atol=1e-9)
    assert found.order[0] == central.argmax()


@pytest.mark.parametrize("columns", ["first", "spread"])
@pytest.mark.parametrize(("m", "k"), [(3, 3), (9, 9), (9, 4), (12, 12), (16, 5)])
def test_nystrom_equals_its_definition(columns, m, k):
    weight = weights((24, 6, 3, 3))
    rows = references.prototypes(weight)
    chosen = list(range(m)) if columns == "first" else spread_columns(prototypes(torch.from_numpy(weight)), m)
    expected = references.nystrom_similarities(rows, chosen, k)
    vectors = approximate_vectors(prototypes(torch.from_numpy(weight)), chosen, k=k)
    np.testing.assert_allclose(vectors @ vectors.T, expected, atol=1e-9)
    keep, delta = references.greedy((1 - expected).round(5))
    found = nystrom(torch.from_numpy(weight), m=m, k=k, columns=columns)
    assert found.keep == keep
    np.testing.assert_allclose(found.scores, delta.clip(0), atol=1e-9)


@pytest.mark.parametrize("shape", [(64, 64, 3, 3), (60, 10, 7, 7), (10, 4, 7, 7)])
def test_nystrom_with_as_many_columns_as_positions_keeps_what_the_exact_form_keeps(shape):
    weight = torch.from_numpy(weights(shape))
    exact = rank(weight, "cosine_similarity")
    assert rank(weight, "nystrom").keep == rank(weight, "nystrom_spread").keep == exact.keep


def test_spread_columns_are_exact_where_the_first_ones_repeat_each_other():
    weight = weights((40, 1, 3, 3))
    weight[1:12] = weight[0] * np.arange(2, 13)[:, None, None, None]  # one direction, eleven times over
    vectors = prototypes(torch.from_numpy(weight))
    exact = vectors @ vectors.T
    errors = []
    for columns in (slice(9), spread_columns(vectors, 9)):
        approximate = approximate_vectors(vectors, columns, k=9)
        errors.append(torch.linalg.matrix_norm(exact - approximate @ approximate.T, ord=2).item())
    assert errors[0] > 1 and errors[1] < 1e-9


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"m": 0}, "m is 0; give a whole number from 1 to 5"),
        ({"m": 6}, "m is 6"),
        ({"m": True}, "m is True"),
        ({"m": 3, "k": 4}, "k is 4; give a whole number from 1 to 3"),
        ({"columns": "sperad"}, "columns is 'sperad'. Did you mean 'spread'"),
    ],
)
def test_impossible_columns_of_nystrom_are_refused(options, said):
    with pytest.raises(CoppiceError, match=said):
        nystrom(torch.randn(5, 3, 3), **options)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from(ORDER_FREE), st.sampled_from(SHAPES), st.integers(0, 10**6), st.randoms(use_true_random=False))
def test_a_criterion_that_is_free_of_order_follows_a_permutation_of_the_filters(name, shape, seed, shuffler):
    # A linear layer or a 1×1 kernel has prototypes ±1: all ties, which the index decides.
    weight = torch.from_numpy(weights(shape, seed))
    if np.prod(shape[2:]) == 1 and name not in ("l1", "l2", "geometric_median", "geometric_mean_deviation"):
        return
    places = list(range(shape[0]))
    shuffler.shuffle(places)
    before, after = rank(weight, name), rank(weight[places], name)
    np.testing.assert_allclose(after.scores, np.array(before.scores)[places], rtol=1e-9, atol=1e-9)
    if len(set(before.scores)) == shape[0]:  # what is scored alike, the index orders
        assert [places[index] for index in after.order] == list(before.order)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from(SHAPES[:5]), st.integers(0, 10**6), st.randoms(use_true_random=False))
def test_under_a_permutation_similarity_removes_one_of_the_same_pairs(shape, seed, shuffler):
    # Of two mutual nearest neighbours the lower index stays, so which one it is depends on the order; which pairs, not.
    weight = torch.from_numpy(weights(shape, seed))
    places = list(range(shape[0]))
    shuffler.shuffle(places)
    vectors = references.prototypes(weight.numpy())
    distances = (1 - vectors @ vectors.T).round(12)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.argmin(axis=1)
    gone = [set(range(shape[0])) - set(rank(weight, "cosine_similarity").keep)]
    gone.append({places[i] for i in set(range(shape[0])) - set(rank(weight[places], "cosine_similarity").keep)})
    if len(np.unique(distances[np.triu_indices(shape[0], 1)])) == shape[0] * (shape[0] - 1) // 2:
        pairs = [{frozenset((index, int(nearest[index]))) for index in one} for one in gone]
        assert pairs[0] == pairs[1]


@pytest.mark.parametrize("name", [*ORDER_FREE, "operator_norm", "nystrom", "cosine_similarity_2022"])
def test_zero_filters_dead_channels_and_copies_are_ranked(name):
    weight = torch.from_numpy(weights((12, 5, 3, 3)))
    weight[:, 0] = 0
    weight[[2, 7]] = 0
    weight[9] = weight[4]
    found = rank(weight, name)
    assert sorted(found.order) == list(range(12)) and np.isfinite(found.scores).all()
    assert rank(torch.zeros(4, 3, 3, 3), name).order  # nothing but zeros


@pytest.mark.parametrize("name", [*ORDER_FREE, "operator_norm", "nystrom", "cosine_similarity_2022"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_weights_that_are_not_finite_are_refused_by_filter(name, value, dtype):
    weight = torch.from_numpy(weights((6, 3, 3, 3))).to(dtype)
    weight[4, 1, 2, 0] = value
    with pytest.raises(CoppiceError, match="filter 4 has weights that are not finite"):
        rank(weight, name)


@pytest.mark.parametrize("name", [*ORDER_FREE, "operator_norm", "nystrom"])
def test_how_weights_are_stored_does_not_matter(name):
    weight = torch.from_numpy(weights((20, 6, 3, 3))).to(torch.bfloat16)
    expected = rank(weight.double(), name)
    stored = [weight, weight.float(), weight.float().to(memory_format=torch.channels_last), weight.requires_grad_()]
    for other in stored:
        assert rank(other, name).order == expected.order
