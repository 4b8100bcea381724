from dataclasses import replace

import pytest
import torch
from torch import nn

from coppice.core.errors import CoppiceError
from coppice.criteria.registry import rank
from coppice.pruning.plan import LayerPlan, PruningPlan
from coppice.pruning.planning.decide import kept_count, plan, rankings
from coppice.pruning.surgery.prune import prune


def kept(made):
    return {layer.name: len(layer.keep) for layer in made.layers}


def test_the_methods_own_set_is_the_plan_for_all_convolutions(plain, image):
    made = plan(plain, "cosine_similarity", example=image)
    for name in ("conv1", "conv2", "conv3"):
        assert made.keep(name) == rank(getattr(plain, name).weight, "cosine_similarity").keep
    assert [layer.name for layer in made.layers] == ["conv1", "conv2", "conv3"]


def test_ratios_and_counts_keep_the_last_of_the_order(plain, image):
    made = plan(plain, "l1", keep={"conv1": 2}, ratios={"dense1": 0.5}, example=image)
    assert made.keep("conv1") == rank(plain.conv1.weight, "l1").keep_count(2)
    assert made.keep("dense1") == rank(plain.dense1.weight, "l1").keep_count(5)
    assert kept(plan(plain, "l1", ratios=0.25, example=image)) == {"conv1": 5, "conv2": 4, "conv3": 6}
    assert kept(plan(plain, "l1", ratios=0.25, layers=["conv3"], example=image)) == {"conv3": 6}


@pytest.mark.parametrize(
    ("filters", "ratio", "count"),
    [
        (16, 0.25, 12),
        (16, 0.5, 8),
        (64, 0.9, 7),
        (10, 0.9, 1),
        (10, 0.1, 9),
        (10, 0.7, 3),
        (3, 0.99, 1),
        (1, 0.5, 1),
    ],
)
def test_the_kept_count_is_the_ceiling_without_the_dust_of_binary_fractions(filters, ratio, count):
    assert kept_count(filters, ratio) == count


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        (0, "removes nothing"),
        (1, "leaves no filter"),
        (-0.1, "cannot be negative"),
        (1.5, "0.25 for 25 %"),
        (float("nan"), "not a number"),
        ("half", "'half'"),
        (True, "True"),
        (None, "None"),
    ],
)
def test_every_impossible_ratio_has_its_own_sentence(plain, image, ratio, said):
    with pytest.raises(CoppiceError, match="ratio for 'conv2'") as refused:
        plan(plain, "l1", ratios={"conv2": ratio}, example=image)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"keep": {"conv2": 0}}, "from 1 to 5"),
        ({"keep": {"conv2": 6}}, "cannot keep 6 filters of 'conv2'"),
        ({"keep": {"conv2": True}}, "cannot keep True"),
        ({"keep": {"conv2": 2.0}}, "cannot keep 2.0"),
        ({"keep": {"con2": 2}}, "Did you mean 'conv2'"),
        ({"ratios": {"bn1": 0.5}}, "no convolution or linear layer 'bn1'"),
        ({"ratios": {"dense2": 0.5}}, "'dense2' cannot be cut: its filters reach the network's output"),
        ({"layers": ["dense2"], "ratios": 0.5}, "'dense2' cannot be cut"),
        ({"layers": "conv2", "ratios": 0.5}, "give a list of names"),
        ({"keep": {"conv2": 2}, "ratios": {"conv2": 0.5}}, "one of them"),
        ({"keep": {"conv2": 2}, "ratios": 0.5}, "not both"),
        ({"keep": {"conv2": 2}, "layers": ["conv1"]}, "leave out layers"),
        ({"keep": {}}, "name no layer"),
        ({}, "no set of its own; give ratios"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused(plain, image, arguments, said):
    with pytest.raises(CoppiceError) as refused:
        plan(plain, "l1", example=image, **arguments)
    assert said in str(refused.value)


def test_a_misspelt_criterion_gets_a_hint(plain, image):
    with pytest.raises(CoppiceError, match="Did you mean 'cosine_similarity'"):
        plan(plain, "cosine_similarty", example=image)


def test_coupled_layers_stand_in_the_plan_once_with_their_group(residual, image):
    made = plan(residual, "l1", ratios=0.5, example=image)
    assert [(layer.name, layer.coupled) for layer in made.layers] == [
        ("stem.0", ("second.0",)),
        ("first.0", ()),
        ("third.0", ()),
    ]
    assert plan(residual, "l1", ratios={"stem.0": 0.5, "second.0": 0.5}, example=image).layers == made.layers[:1]
    alone = plan(residual, "l1", ratios={"second.0": 0.5}, example=image)
    assert alone.keep("second.0") == rank(residual.second[0].weight, "l1").keep_count(3)


def test_requests_for_coupled_layers_that_disagree_are_refused_by_name(residual, image):
    with pytest.raises(CoppiceError, match=r"'second.0' is to keep 2 filters but 'stem.0'"):
        plan(residual, "l1", keep={"stem.0": 4, "second.0": 2}, example=image)


def test_filters_coupled_within_a_layer_leave_together(networks):
    network, example = networks["Grouped"]
    made = plan(network, "l1", keep={"stem.0": 5, "grouped.0": 4}, example=example)
    assert kept(made) == {"stem.0": 8, "grouped.0": 4}
    own = plan(network, "cosine_similarity", layers=["stem.0"], example=example).keep("stem.0")
    assert len(own) % 4 == 0 and set(rank(network.stem[0].weight, "cosine_similarity").keep) <= set(own)


def bad(name, filters, keep, coupled=()):
    return PruningPlan(None, (LayerPlan(name, filters, keep, coupled),))


@pytest.mark.parametrize(
    ("kind", "wrong", "said"),
    [
        ("Plain", bad("con1", 6, (0,)), "Did you mean 'conv1'"),
        ("Plain", bad("conv1", 16, (0,)), "16 filters in 'conv1' but this network has 6"),
        ("Plain", bad("dense2", 4, (0, 1)), "filter 2 of 'dense2' cannot be cut"),
        ("Plain", bad("conv1", 6, (0,), ("conv2",)), "couples 'conv1' to 'conv2'"),
        (
            "Grouped",
            bad("grouped.0", 8, (0, 1, 2)),
            r"filters \[0, 2, 4, 6\] of 'grouped.0' live and die together",
        ),
        ("Concatenated", bad("both.0", 7, (3, 4)), "leaves 'left.0' without filters"),
    ],
)
def test_a_plan_that_does_not_fit_the_network_is_refused(networks, kind, wrong, said):
    network, example = networks[kind]
    with pytest.raises(CoppiceError, match=said):
        prune(network, wrong, example=example)


def test_a_plan_that_contradicts_itself_is_refused(residual, image):
    wrong = PruningPlan(None, (LayerPlan("stem.0", 6, (0, 1)), LayerPlan("second.0", 6, (1, 2))))
    with pytest.raises(
        CoppiceError, match=r"contradicts itself: 'stem.0' keeps filter 0, which leaves with .*'second.0'"
    ):
        prune(residual, wrong, example=image)
    agreed = replace(wrong, layers=(wrong.layers[0], replace(wrong.layers[1], keep=(0, 1))))
    assert prune(residual, agreed, example=image).stem[0].out_channels == 2


def test_rankings_need_no_example_and_random_streams_are_per_layer(plain):
    found = rankings(plain, "random", seed=3)
    assert list(found) == ["conv1", "conv2", "conv3"]
    assert found == rankings(plain, "random", seed=3)
    assert found != rankings(plain, "random", seed=4)
    assert rankings(plain, "random", layers=["conv2"], seed=3)["conv2"] == found["conv2"]
    with pytest.raises(CoppiceError, match="Did you mean 'conv1'"):
        rankings(plain, "l1", layers=["conv11"])


def test_a_layer_with_nan_is_named(plain, image):
    with torch.no_grad():
        plain.conv2.weight[3, 0, 0, 0] = float("nan")
    with pytest.raises(CoppiceError, match="layer 'conv2': filter 3"):
        plan(plain, "l1", ratios={"conv2": 0.5}, example=image)


def test_transposed_convolutions_are_ranked_by_their_own_filters():
    layer = nn.ConvTranspose1d(2, 3, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 5.0, 3.0], [1.0, 5.0, 3.0]]).unsqueeze(2))
    assert rankings(nn.Sequential(layer), "l1")["0"].order == (0, 2, 1)
