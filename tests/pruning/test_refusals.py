"""What cannot be right is refused in a clear sentence; what surgery does not cut it leaves as it was."""

import gc

import pytest
import torch
from tests.pruning.cutting import Two, grouped, lively, refused, without
from torch import nn
from torch.nn import functional as F

from coppice.core.errors import CoppiceError
from coppice.pruning.plan import LayerPlan
from coppice.pruning.planning.decide import plan
from coppice.pruning.surgery.prune import prune
from coppice.pruning.tracing.channels import trace

# --- what cannot be right ---


@pytest.mark.parametrize(
    "way",
    [
        lambda net, x: net.head(net.a(x).view(-1, 6 * 36)),
        lambda net, x: net.head(net.a(x).reshape(len(x), 6, 36).flatten(1)),
        lambda net, x: net.head(F.pad(net.a(x)[:, 1:5], (0, 0, 0, 0, 1, 1)).flatten(1)),
    ],
)
def test_a_fixed_number_of_channels_in_the_forward_is_refused_and_nothing_changed(way):
    network = Two(way, **{"a": nn.Conv2d(1, 6, 3), "head": nn.Linear(216, 2)})
    assert "after cutting 'a' the network is not the masked one" in refused(network, (1, 8, 8), {"a": [2, 4]})


@pytest.mark.parametrize(
    ("keep", "sentence"),
    [
        ((0, 1, 99), "keeps filter 99 in the plan but has filters 0 to 15"),
        ((-1, 0, 1), "keeps filter -1 in the plan but has filters 0 to 15"),
        ((0, 1, 1, 2), "keeps filter 1 twice in the plan"),
        ((), "keeps no filter in the plan; a layer must keep at least one"),
        ((2, 1), "sort the indices ascending"),
        ((0.0, 1.0), "give whole numbers"),
    ],
)
def test_impossible_indices_are_refused(keep, sentence):
    with pytest.raises(CoppiceError, match=sentence):
        LayerPlan("conv", 16, keep)


@pytest.mark.parametrize("make", [torch.jit.script, lambda net: torch.jit.trace(net, torch.zeros(1, 1, 8, 8))])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_torchscript_is_refused(make):
    network = make(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 1)))
    with pytest.raises(CoppiceError, match="the network is TorchScript, which cannot be followed; give the module"):
        plan(network, "l1", ratios=0.5, example=torch.zeros(1, 1, 8, 8))


def test_taking_all_filters_of_a_coupled_layer_is_refused():
    network = Two(
        lambda net, x: net.head(torch.cat([net.a(x), net.b(x)], 1) + net.c(x)).mean((2, 3)),
        **{"a": nn.Conv2d(1, 2, 1), "b": nn.Conv2d(1, 4, 1), "c": nn.Conv2d(1, 6, 1), "head": nn.Conv2d(6, 2, 1)},
    )
    assert "the plan leaves 'a' without filters" in refused(network, (1, 5, 5), {"c": [0, 1]})


def test_the_last_classifier_cannot_be_cut_by_accident():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    assert "filter 3 of '3' cannot be cut: its filters reach the network's output" in refused(
        network, (1, 8, 8), {"3": [3]}
    )


def test_different_wishes_for_coupled_layers_are_refused_not_resolved(residual, image):
    with pytest.raises(CoppiceError, match=r"'second\.0' is to keep 3 filters but 'stem\.0', to which it is coupled"):
        plan(residual, "l1", ratios={"stem.0": 0.25, "second.0": 0.5}, example=image)


def test_an_operator_without_a_rule_is_refused_by_name_and_module():
    network = Two(
        lambda net, x: net.head(net.odd(net.a(x)).flatten(1)),
        **{"a": nn.Conv2d(1, 6, 3), "odd": nn.Unfold(2), "head": nn.Linear(600, 2)},
    )
    assert "the operator 'im2col' in 'odd' cannot be followed" in refused(network, (1, 8, 8), {"a": [2]})


# --- what surgery leaves as it was ---


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_frozen_networks_are_cut_in_any_mode_and_stay_frozen(mode):
    network = lively(grouped(8, 8, 8)).requires_grad_(False)
    network[0].requires_grad_(True)
    example = torch.randn(1, 1, 8, 8, dtype=torch.float64)
    with mode():
        small = prune(network, without(network, example, **{"0": [1]}), example=example)
    flags = [parameter.requires_grad for parameter in small.parameters()]
    assert flags == [parameter.requires_grad for parameter in network.parameters()] and any(flags) and not all(flags)
    small.train()(torch.randn(2, 1, 8, 8, dtype=torch.float64)).sum().backward()
    assert small[0].weight.grad is not None and small[2].weight.grad is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_number_format_is_cut_and_kept(dtype):
    network = grouped(8, 8, 2).to(dtype).eval()
    example = torch.randn(1, 1, 8, 8, dtype=dtype)
    small = prune(network, without(network, example, **{"0": [1, 5]}), example=example)
    assert {parameter.dtype for parameter in small.parameters()} == {dtype}


def test_the_pruned_network_shares_no_memory_with_the_old_one():
    network = lively(grouped())
    example = torch.randn(1, 1, 8, 8, dtype=torch.float64)
    small = prune(network, without(network, example, **{"2": [1, 5, 9, 13]}), example=example)
    places = [{tensor.untyped_storage().data_ptr() for tensor in one.state_dict().values()} for one in (network, small)]
    assert not places[0] & places[1]
    assert len(places[1]) == len(small.state_dict())


def test_nothing_is_left_behind_when_the_forward_raises():
    network = Two(lambda net, x: net.head(net.a(x)), **{"a": nn.Conv2d(1, 6, 3), "head": nn.Linear(5, 2)}).train()
    gc.collect()
    alive = sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())
    for _ in range(3):
        with pytest.raises(CoppiceError, match="does not run on an example of shape"):
            trace(network, torch.randn(1, 1, 8, 8))
    gc.collect()
    assert sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects()) <= alive + 1
    assert all(module.training for module in network.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_a_network_that_magnifies_rounding_is_judged_in_float64():
    network = Two(
        lambda net, x: (net.b(net.a(x)).mean((2, 3)) * 3e4).sin(),
        **{"a": nn.Conv2d(1, 33, 3), "b": nn.Conv2d(33, 4, 3)},
    )
    example = torch.randn(1, 1, 20, 20)
    assert prune(network, without(network, example, a=[0, 1, 2]), example=example).a.out_channels == 30


def test_long_clips_are_compared_at_full_length_too():
    """A number of channels that is fixed only on the way that long clips take."""
    network = Two(
        lambda net, x: net.head(net.a(x)[:, :4] if x.shape[-1] > 128 else net.a(x)).mean(2),
        **{"a": nn.Conv1d(1, 4, 3), "head": nn.Conv1d(4, 2, 1)},
    )
    network.way = lambda net, x: net.head(F.pad(net.a(x)[:, 1:], (0, 0, 1, 0)) if x.shape[-1] > 128 else net.a(x)).mean(
        2
    )
    assert "after cutting 'a'" in refused(network, (1, 500), {"a": [0, 3]})
