import pytest
import torch
from torch import nn

from coppice.complexity.layer_only import mac_reduction
from coppice.core.errors import CoppiceError
from coppice.networks.dcase2021 import DCASE2021
from coppice.pruning.plan import LayerPlan, PruningPlan
from coppice.pruning.surgery.prune import prune

# Singh and Plumbley, Interspeech 2022 (arXiv 2203.15751): filters kept, MACs saved in percent as published (missing
# maps alone, added up; the scripts round some to one digit) and really.
PUBLISHED = [
    ((11, 16, 32), 1.71, 29.06),
    ((16, 11, 32), 27.35, 29.54),
    ((16, 16, 22), 2.19, 2.19),
    ((11, 11, 32), 29.06, 50.05),
    ((16, 11, 22), 29.54, 31.04),
    ((11, 11, 22), 31.25, 51.56),
]
EXAMPLE = torch.zeros(1, 1, 40, 500, device="meta")


def baseline(widths=(16, 16, 32)) -> nn.Module:
    with torch.device("meta"):
        return DCASE2021(widths=widths, frames=500)


@pytest.mark.parametrize(("widths", "published", "true"), PUBLISHED)
def test_both_ways_of_counting_give_their_numbers(widths, published, true):
    saved = mac_reduction(baseline(), baseline(widths), example=EXAMPLE)
    assert round(100 * saved.layer_only_fraction, 2) == published
    assert round(100 * saved.fraction, 2) == true


def test_the_missing_maps_are_those_of_the_formula():
    saved = mac_reduction(baseline(), baseline((11, 11, 22)), example=EXAMPLE)
    assert saved.missing_by_layer == {
        "conv1": 5 * 49 * 20_000,
        "conv2": 5 * 16 * 49 * 20_000,
        "conv3": 10 * 16 * 49 * 800,
    }
    assert saved.macs_before == 286_637_800


def test_a_plan_says_the_same_as_the_network_that_it_makes():
    network, example = DCASE2021(frames=25), torch.randn(1, 1, 40, 25)
    plan = PruningPlan(None, (LayerPlan("conv1", 16, tuple(range(9))), LayerPlan("conv3", 32, (0, 3, 30))))
    from_plan = mac_reduction(network, {layer.name: len(layer.keep) for layer in plan.layers}, example=example)
    from_network = mac_reduction(network, prune(network, plan, example=example), example=example)
    assert from_plan.missing_by_layer == from_network.missing_by_layer
    assert from_plan.macs_after is None and from_plan.fraction is None
    assert from_network.macs_after < from_network.macs_before


def test_what_cannot_be_compared_is_refused():
    for after, sentence in [
        (nn.Flatten(), "the pruned network has no layer 'conv1'"),
        ({"con2": 3}, "no layer 'con2' with MACs. Did you mean 'conv2'?"),
        ({"conv2": 17}, "'conv2' has 16 filters before pruning and 17 after"),
        ({"conv2": -1}, "'conv2' has 16 filters before pruning and -1 after"),
    ]:
        with pytest.raises(CoppiceError, match=sentence.replace("?", r"\?")):
            mac_reduction(baseline(), after, example=EXAMPLE)


def test_the_data_says_how_it_is_counted():
    saved = mac_reduction(baseline(), baseline((16, 11, 32)), example=EXAMPLE).to_dict()
    assert saved["macs_after"] == 201_965_800 and "Interspeech 2022" in saved["layer_only_counts"]
