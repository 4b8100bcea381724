import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from coppice.core.errors import CoppiceError
from coppice.criteria.ranking import Ranking
from coppice.pruning.planning.decide import plan
from coppice.pruning.planning.importance import importance, leaving_order


def ranking(scores, order=None):
    order = order or sorted(range(len(scores)), key=lambda index: (scores[index], index))
    return Ranking("test", tuple(order), tuple(scores))


def test_the_normalisations_divide_by_the_mean_and_by_the_l2_norm():
    scores = [3.0, 1.0, -2.0]
    alone = [(index,) for index in ranking(scores).order]
    assert importance(ranking(scores), alone, normalisation="mean") == [-1.0, 0.5, 1.5]
    expected = [score / math.sqrt(14) for score in (-2, 1, 3)]
    assert importance(ranking(scores), alone, normalisation="l2") == pytest.approx(expected)
    assert importance(ranking([0.0, 0.0]), [(0,), (1,)], normalisation="mean") == [0.0, 0.0]
    with pytest.raises(CoppiceError, match="Did you mean 'mean'"):
        importance(ranking(scores), alone, normalisation="means")


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=12), st.floats(0.1, 100), st.randoms(use_true_random=False))
def test_scale_plays_no_part_and_the_order_of_the_ranking_is_kept(scores, factor, random):
    order = list(range(len(scores)))
    random.shuffle(order)
    one, other = ranking(scores, order), ranking([factor * score for score in scores], order)
    units = [random.randint(1, 4) for _ in scores]
    groups = leaving_order(one, units)
    for how in ("mean", "l2"):
        values = importance(one, groups, normalisation=how)
        assert values == sorted(values)
        assert values == pytest.approx(importance(other, groups, normalisation=how), abs=1e-9)
    assert sorted(index for group in groups for index in group) == list(range(len(scores)))


def chain(*widths):
    layers, before = [], 1
    for width in widths:
        layers += [nn.Conv1d(before, width, 1, bias=False)]
        before = width
    return nn.Sequential(*layers, nn.Conv1d(before, 2, 1))


def test_one_ratio_of_the_whole_network_takes_the_least_important_of_all_layers():
    network, example = chain(4, 8), torch.zeros(1, 1, 8)
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([10.0, 11.0, 9.0, 10.0]).view(4, 1, 1))
        network[1].weight.copy_(torch.tensor([1.0, 1, 1, 1, 0.1, 0.2, 1, 0.3]).view(8, 1, 1).expand(8, 4, 1))
    made = plan(network, "l1", ratios=0.25, scope="network", example=example)
    assert made.keep("0") == (0, 1, 2, 3) and made.keep("1") == (0, 1, 2, 3, 6)
    assert "ratio 0.25 of all filters" in made.decided_by
    fewer = plan(network, "l1", ratios=0.2, scope="network", rounding="floor", example=example)
    assert sum(len(layer.keep) for layer in fewer.layers) == 9
    for wrong in ({}, {"ratios": {"0": 0.5}}, {"keep": {"0": 2}}):
        with pytest.raises(CoppiceError, match="give one ratio, or a budget"):
            plan(network, "l1", scope="network", example=example, **wrong)
