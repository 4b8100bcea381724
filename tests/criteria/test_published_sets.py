"""The published kept sets and rankings, recomputed from the published network of the DCASE 2022 report."""

import pytest
import torch
from torch import nn

from coppice.criteria.cosine_similarity import cosine_distances, nearest_distances, prototypes
from coppice.criteria.nystrom import approximate_vectors, nystrom
from coppice.criteria.registry import rank
from coppice.networks.loading import load


@pytest.fixture(scope="module")
def published(shared_data):
    """Weights of conv1, conv2, conv3 of the unpruned network, as (filters, channels, 3, 3)."""
    network = load(shared_data / "surrey2022" / "unpruned" / "float32.tflite").network
    kernels = [layer.weight.detach() for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert [tuple(kernel.shape) for kernel in kernels] == [(16, 1, 3, 3), (16, 16, 3, 3), (32, 16, 3, 3)]
    return kernels


CONV1 = (0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 13)
CONV2 = (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 13, 14)
CONV3 = (0, 1, 2, 3, 9, 10, 11, 12, 13, 14, 16, 18, 19, 22, *range(24, 32))


def test_the_criterion_with_the_papers_ties_keeps_exactly_the_published_filters(published):
    # Singh & Plumbley, DCASE 2022: matched filter by filter with the released pruned networks.
    assert [rank(kernel, "cosine_similarity_2022").keep for kernel in published] == [CONV1, CONV2, CONV3]


def test_a_stable_tie_rule_changes_only_the_survivors_of_mutual_pairs(published):
    # The lower index of each pair of mutual nearest neighbours survives: six of conv3's pairs come out otherwise.
    expected = tuple(sorted({*CONV3} - {25, 27, 16, 11, 24, 31} | {4, 6, 7, 8, 15, 17}))
    assert [rank(kernel, "cosine_similarity").keep for kernel in published] == [CONV1, CONV2, expected]


def test_distances_to_the_nearest_filter_have_the_published_mean_and_spread(published):
    for kernel, mean, spread in zip(published, (0.345, 0.312, 0.167), (0.226, 0.146, 0.143), strict=True):
        nearest = nearest_distances(cosine_distances(prototypes(kernel)))
        assert nearest.mean().item() == pytest.approx(mean, abs=5e-4)
        assert nearest.std(correction=0).item() == pytest.approx(spread, abs=5e-4)


@pytest.mark.parametrize(
    ("layer", "criterion", "order"),
    [
        (0, "l1", "10 1 7 12 0 13 11 5 9 4 6 15 8 3 2 14"),
        (1, "l1", "11 7 12 6 14 9 10 15 0 2 3 5 8 4 13 1"),
        (2, "l1", "17 16 6 3 8 14 20 27 25 9 13 28 11 5 29 18 24 22 7 31 4 15 1 30 2 21 23 10 12 26 0 19"),
        (0, "geometric_mean_deviation", "0 4 5 11 9 13 1 6 8 15 12 7 10 3 2 14"),
        (1, "geometric_mean_deviation", "3 5 2 0 15 10 9 14 6 12 7 8 11 4 13 1"),
        (0, "geometric_median", "10 7 1 11 13 12 9 5 6 0 4 3 15 8 2 14"),
        (1, "geometric_median", "11 7 6 9 12 14 15 10 0 2 3 8 5 4 13 1"),
        (0, "operator_norm", "12 4 10 7 9 6 0 2 5 11 1 13 3 15 8 14"),
        (1, "operator_norm", "6 9 15 14 12 11 3 13 7 8 10 5 2 4 0 1"),
        (2, "operator_norm", "17 21 31 24 4 8 14 28 26 22 20 3 13 30 18 27 11 6 9 5 1 2 16 15 7 25 12 29 10 19 0 23"),
        (0, "weighted_degree", "13 14 9 11 5 6 10 12 7 4 3 0 2 8 1 15"),
        (1, "weighted_degree", "2 7 13 9 0 8 11 3 14 10 1 6 15 4 5 12"),
        (2, "weighted_degree", "24 30 16 15 22 7 13 26 17 31 14 25 28 4 23 0 9 19 27 6 18 1 8 20 29 2 12 11 21 5 3 10"),
    ],
)
def test_rankings_of_the_published_weights_do_not_change(published, layer, criterion, order):
    assert rank(published[layer], criterion).order == tuple(map(int, order.split()))


@pytest.mark.parametrize(("layer", "exact_from", "also"), [(0, 8, ()), (1, 8, (4, 5, 6)), (2, 9, ())])
def test_nystrom_keeps_the_exact_set_from_as_many_columns_as_prototypes_have_dimensions(
    published, layer, exact_from, also
):
    # Of conv2 six columns are enough and seven are not: with more columns the set may part again. (The released code
    # takes the second smallest distance for that to another filter. An approximated distance to itself need not be the
    # smallest, so of four and five columns it keeps another set; here a filter is never its own neighbour.)
    kernel = published[layer]
    exact = rank(kernel, "cosine_similarity").keep
    same = {m for m in range(1, len(kernel) + 1) if nystrom(kernel, m=m).keep == exact}
    assert same == {*range(exact_from, len(kernel) + 1), *also}
    assert torch.linalg.matrix_rank(prototypes(kernel)) == 9


def test_nystrom_leaves_no_error_from_nine_columns(published):
    for kernel in published:
        vectors = prototypes(kernel)
        exact = vectors @ vectors.T
        for m in range(1, len(kernel) + 1):
            approximate = approximate_vectors(vectors, slice(m), k=m)
            error = torch.linalg.matrix_norm(exact - approximate @ approximate.T, ord=2).item()
            assert (error < 1e-9) == (m >= 9)
