"""The fast form of the similarity family against the slow one, where shortcuts could part from it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.criteria import references

from coppice.criteria import neighbours
from coppice.criteria.leading_vectors import leading_vectors
from coppice.criteria.prototypes import prototypes
from coppice.criteria.quicksort import quicksort_order
from coppice.criteria.registry import rank
from coppice.criteria.similarity_order import rank_by_distances, rank_by_vectors
from coppice.criteria.threads import in_stretches, one_thread


def weights(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(2, 40), st.integers(1, 5), st.integers(1, 3), st.integers(0, 10**6))
def test_set_and_order_equal_the_plain_greedy_pass_also_among_ties(filters, size, levels, seed):
    # Whole numbers as coordinates: many equal distances, copies and zeros.
    vectors = np.random.default_rng(seed).integers(-levels, levels + 1, (filters, size)).astype(float) / 8
    distances = 1 - vectors @ vectors.T
    keep, _ = references.greedy(distances)
    for found in (
        rank_by_vectors(torch.from_numpy(vectors), name="mine"),
        rank_by_distances(torch.from_numpy(distances), name="mine"),
    ):
        assert found.keep == keep
        assert found.order == references.greedy_order(distances)


@pytest.mark.parametrize(("resident", "block"), [(1, 64), (5, 10**6), (10**6, 64)])
def test_blocks_and_memory_make_no_difference(monkeypatch, resident, block):
    vectors = prototypes(torch.from_numpy(weights((90, 6, 3, 3))))
    expected = rank_by_vectors(vectors, name="mine")
    monkeypatch.setattr(neighbours, "RESIDENT", resident)
    monkeypatch.setattr(neighbours, "BLOCK", block)
    assert rank_by_vectors(vectors, name="mine") == expected
    assert expected.order == references.greedy_order((1 - vectors.numpy() @ vectors.numpy().T).round(12))


def test_a_tie_rule_decides_between_mutual_neighbours_and_nothing_else():
    vectors = prototypes(torch.from_numpy(weights((60, 6, 3, 3))))
    stable = rank_by_vectors(vectors, name="mine")
    other = rank_by_vectors(vectors, name="mine", visit=quicksort_order)
    assert len(stable.keep) == len(other.keep) and stable.scores == other.scores


@pytest.mark.parametrize("shape", [(300, 4, 3, 3), (256, 256, 3, 3), (70, 50, 7, 7)])
def test_a_layer_of_many_filters_keeps_what_the_slow_way_keeps(shape):
    weight = weights(shape).astype(np.float32)
    _, keep, delta = references.cosine(weight.astype(np.float64))
    found = rank(torch.from_numpy(weight), "cosine_similarity")
    assert found.keep == keep
    np.testing.assert_allclose(found.scores, delta, atol=1e-11)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 12), st.integers(1, 70), st.floats(1e-12, 1), st.integers(0, 10**6))
def test_leading_vectors_have_the_residuals_of_lapack(size, matrices, gap, seed):
    draw = np.random.default_rng(seed)
    bases = np.linalg.qr(draw.standard_normal((matrices, size, size)))[0]
    values = np.sort(draw.random((matrices, size)), axis=1)
    values[:, -1] = 1.0
    values[0, -2:] = (1 - gap, 1.0)[-min(2, size) :]  # two that all but coincide
    made = (bases * values[:, None]) @ bases.transpose(0, 2, 1)
    made = torch.from_numpy((made + made.transpose(0, 2, 1)) / 2)
    vectors = leading_vectors(made)
    largest = torch.linalg.eigvalsh(made)[:, -1:]
    assert (torch.linalg.vector_norm(vectors, dim=1) - 1).abs().max() < 1e-12
    assert torch.linalg.vector_norm((made @ vectors.unsqueeze(2)).squeeze(2) - largest * vectors, dim=1).max() < 2e-13


def test_leading_vectors_of_large_and_of_equal_eigenvalues_are_unit_eigenvectors():
    large = torch.from_numpy(weights((2, 100, 120)))
    gram = large @ large.mT
    vectors = leading_vectors(gram)
    values = torch.linalg.vecdot((gram @ vectors.unsqueeze(2)).squeeze(2), vectors)
    torch.testing.assert_close(values, torch.linalg.eigvalsh(gram)[:, -1])
    scales = torch.tensor([1e-150, 1.0, 1e150], dtype=torch.float64)
    same = leading_vectors(torch.eye(9, dtype=torch.float64) * scales[:, None, None])
    torch.testing.assert_close(torch.linalg.vector_norm(same, dim=1), torch.ones(3, dtype=torch.float64))


def test_stretches_cover_a_range_once_and_leave_the_number_of_threads():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with one_thread():
            assert torch.get_num_threads() == 1
            parts = in_stretches(lambda begin, end: list(range(begin, end)), 10, enough=2)
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
        assert len(parts) == 3 and [index for part in parts for index in part] == list(range(10))
        large = torch.from_numpy(weights((700, 300, 3, 3))).float()
        several = rank(large, "cosine_similarity")
        torch.set_num_threads(1)
        assert rank(large, "cosine_similarity") == several
    finally:
        torch.set_num_threads(before)
