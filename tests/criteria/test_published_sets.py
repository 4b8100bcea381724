"""The published kept sets and rankings, recomputed from the published network of the DCASE 2022 report."""

import pytest
import tflite
import torch

from coppice.criteria.cosine_similarity import cosine_distances, nearest_distances, prototypes
from coppice.criteria.registry import rank


@pytest.fixture(scope="module")
def published(shared_data):
    """Weights of conv1, conv2, conv3 of the unpruned network, as (filters, channels, 3, 3)."""
    data = (shared_data / "surrey2022" / "unpruned" / "float32.tflite").read_bytes()
    model = tflite.Model.GetRootAsModel(data, 0)
    graph = model.Subgraphs(0)
    kernels = []
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        code = model.OperatorCodes(operator.OpcodeIndex())
        if max(code.BuiltinCode(), code.DeprecatedBuiltinCode()) != tflite.BuiltinOperator.CONV_2D:
            continue
        tensor = graph.Tensors(operator.Inputs(1))
        values = torch.frombuffer(bytearray(model.Buffers(tensor.Buffer()).DataAsNumpy()), dtype=torch.float32)
        kernels.append(values.reshape(tensor.ShapeAsNumpy().tolist()).permute(0, 3, 1, 2))
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
    ],
)
def test_rankings_of_the_published_weights_do_not_change(published, layer, criterion, order):
    assert rank(published[layer], criterion).order == tuple(map(int, order.split()))
