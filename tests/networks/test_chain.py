import copy
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import coppice as cp
from coppice.complexity.macs import count_macs
from coppice.core.errors import CoppiceError
from coppice.networks.chain import Chain
from coppice.networks.chain_specs import same_padding
from coppice.networks.checkpoint import load, save
from coppice.networks.classifier import Classifier
from coppice.networks.registry import build_network

LAYERS = [
    {"kind": "conv", "filters": 6, "kernel": [3, 4], "stride": [2, 1], "padding": "same"},
    {"kind": "batch_norm"},
    {"kind": "activation", "function": "relu"},
    {"kind": "conv", "filters": 12, "kernel": 3, "groups": 6, "padding": "same", "bias": False},
    {"kind": "avg_pool", "kernel": 2, "padding": "same"},
    {"kind": "conv", "filters": 8, "kernel": 1},
    {"kind": "activation", "function": "hard_sigmoid_keras2"},
    {"kind": "max_pool", "kernel": [2, 4], "stride": [2, 2], "padding": "same"},
    {"kind": "dropout", "rate": 0.3, "whole_channels": True},
    {"kind": "flatten"},
    {"kind": "dense", "units": 10},
    {"kind": "activation", "function": "tanh"},
    {"kind": "dense", "units": 3},
]


def chain(layers=LAYERS, input_shape=(1, 9, 13)):
    network = Chain(layers=layers, input_shape=input_shape).eval()
    for name, tensor in network.state_dict().items():
        if "running" in name:
            tensor.copy_(torch.rand(tensor.shape) + 0.5)
    return network


def classifier(network):
    return Classifier(network=network, front_end=None, labels=("a", "b", "c"), band_mean=None, band_std=None)


def test_layers_are_named_by_kind_and_order():
    names = [name for name, _ in chain().named_children()]
    assert names == [
        *("conv1_pad", "conv1", "bn1", "act1", "conv2", "pool1", "conv3", "act2", "pool2_pad", "pool2", "drop1"),
        *("flatten", "dense1", "act3", "dense2"),
    ]


def test_its_config_builds_it_again():
    network = chain()
    config = json.loads(json.dumps(network.config()))
    again = build_network("chain", **config).eval()
    again.load_state_dict(network.state_dict())
    x = torch.randn(2, 1, 9, 13)
    assert torch.equal(network(x), again(x))
    assert config == again.config()


def test_surgery_cuts_convolutions_through_every_kind_of_layer_and_the_flatten():
    whole = classifier(chain())
    plan = cp.plan(whole, "l1", ratios={"conv1": 0.5, "conv3": 0.25, "dense1": 0.3})
    small = cp.prune(whole, plan)  # which compares with the masked network
    config = small.network.config()
    widths = [layer["filters"] for layer in config["layers"] if layer["kind"] == "conv"]
    assert widths == [3, 6, 6]
    assert config["layers"][3]["groups"] == 3
    assert config["layers"][-3]["units"] == 7
    rebuilt = Chain(**config)
    assert {name: t.shape for name, t in rebuilt.state_dict().items()} == {
        name: t.shape for name, t in small.network.state_dict().items()
    }


def test_a_pruned_chain_comes_back_from_its_checkpoint_with_the_same_logits(tmp_path):
    whole = classifier(chain())
    small = cp.prune(whole, cp.plan(whole, "l1", ratios={"conv3": 0.5}))
    again = load(save(small, tmp_path / "small.safetensors"))
    x = torch.randn(4, 1, 9, 13)
    assert torch.equal(small.network(x), again.network(x))
    assert cp.profile(again).macs == cp.profile(small).macs < cp.profile(whole).macs


def test_a_one_dimensional_chain_is_pruned_too():
    layers = [
        {"kind": "conv", "filters": 4, "kernel": 5, "stride": 2, "padding": [[4, 0]]},
        {"kind": "pad", "padding": [[0, 3]]},
        {"kind": "global_max_pool", "keep_axes": True},
        {"kind": "conv", "filters": 5, "kernel": 1},
        {"kind": "flatten"},
        {"kind": "dense", "units": 3},
    ]
    whole = classifier(chain(layers, (2, 40)))
    small = cp.prune(whole, cp.plan(whole, "l1", ratios={"conv1": 0.5, "conv2": 0.4}))
    assert [layer.get("filters") for layer in small.network.config()["layers"]] == [2, None, None, 3, None, None]


def test_macs_count_what_the_padding_adds():
    layers = [{"kind": "conv", "filters": 2, "kernel": 4, "padding": "same"}, {"kind": "global_avg_pool"}]
    assert count_macs(chain(layers, (1, 10, 10)), torch.zeros(1, 1, 10, 10)).total == 4 * 4 * 2 * 100


@settings(max_examples=60, deadline=None, derandomize=True)
@given(size=st.integers(1, 40), kernel=st.integers(1, 9), stride=st.integers(1, 5), dilation=st.integers(1, 3))
def test_same_padding_gives_size_over_stride_rounded_up_and_pads_the_end_more(size, kernel, stride, dilation):
    before, after = same_padding(size, kernel, stride, dilation)
    assert 0 <= after - before <= 1
    layers = [
        {"kind": "conv", "filters": 1, "kernel": kernel, "stride": stride, "dilation": dilation, "padding": "same"}
    ]
    network = Chain(layers=[*layers, {"kind": "flatten"}], input_shape=(1, size))
    assert network(torch.zeros(1, 1, size)).shape == (1, -(-size // stride))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    maximum=st.booleans(),
)
def test_pools_with_same_padding_look_at_the_map_only(height, width, kernel, stride, maximum):
    kind = "max_pool" if maximum else "avg_pool"
    spec = {"kind": kind, "kernel": list(kernel), "stride": list(stride), "padding": "same"}
    network = Chain(layers=[spec, {"kind": "flatten"}], input_shape=(1, height, width))
    x = np.random.default_rng(height * 10 + width).normal(size=(height, width)) - 5  # no zero wins a maximum
    top, left = (same_padding(*sizes)[0] for sizes in zip(x.shape, kernel, stride, strict=True))
    expected = [
        (np.max if maximum else np.mean)(
            x[max(row - top, 0) : row - top + kernel[0], max(column - left, 0) : column - left + kernel[1]]
        )
        for row in range(0, height, stride[0])
        for column in range(0, width, stride[1])
    ]
    np.testing.assert_allclose(network(torch.from_numpy(x)[None, None])[0], expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "convolution"}, "there is no kind of layer 'convolution'"),
        ({"kind": "conv", "filters": 0, "kernel": 3}, "cannot have 0 filters"),
        ({"kind": "conv", "filters": 2, "kernel": 99}, "does not fit into 9 × 13"),
        ({"kind": "conv", "filters": 2, "kernel": [3]}, "kernel is [3]; give 2"),
        ({"kind": "conv", "filters": 2, "kernel": 3, "pading": "same"}, "Did you mean 'padding'?"),
        ({"kind": "conv", "filters": 2, "kernel": 3, "groups": 2}, "cannot have 2 groups"),
        ({"kind": "conv", "filters": 2, "kernel": 3, "padding": [[1, 1]]}, "for each of 2 axes"),
        ({"kind": "max_pool", "kernel": 2, "padding": [[2, 2], [0, 0]]}, "a window would be empty"),
        ({"kind": "activation", "function": "rely"}, "Did you mean 'relu'?"),
        ({"kind": "activation", "function": "clip", "low": 2, "high": 1}, "low 2 and high 1"),
        ({"kind": "activation", "function": "elu"}, "alpha is None"),
        ({"kind": "batch_norm", "eps": -1}, "eps is -1"),
        ({"kind": "dropout", "rate": 1}, "rate of a dropout is 1"),
        ({"kind": "dense", "units": 3}, "put a flatten"),
        ({"kind": "pad", "padding": [[10**9, 10**9], [10**9, 0]]}, "too many"),
        ({}, "is not a layer"),
        ("conv", "is not a layer"),
    ],
)
def test_an_impossible_layer_is_refused_with_its_place(change, words):
    with pytest.raises(CoppiceError, match="layer 1 of the chain: ") as caught:
        Chain(layers=[change, *LAYERS], input_shape=(1, 9, 13))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "shape", [(), (0, 3), (1, 2, 3, 4), (10**9, 10**9), "abc", None, (70_000, 4), (1, 10**6, 10**6)]
)
def test_an_impossible_input_is_refused(shape):
    with pytest.raises(CoppiceError, match="input"):
        Chain(layers=LAYERS, input_shape=shape)


@pytest.mark.parametrize("layers", [[], None, LAYERS[:2], [*LAYERS, {"kind": "flatten"}]])
def test_a_chain_that_does_not_end_in_classes_is_refused(layers):
    with pytest.raises(CoppiceError, match="chain"):
        Chain(layers=layers, input_shape=(1, 9, 13))


def test_every_activation_is_a_module_that_the_tracer_can_follow():
    from coppice.networks.chain_specs import ACTIVATIONS
    from coppice.pruning.tracing.channels import trace

    values = {"low": -1.0, "high": 1.0, "slope": 0.1, "alpha": 1.0}
    layers = [{"kind": "conv", "filters": 2, "kernel": 1}]
    for function, keys in ACTIVATIONS.items():
        layers.append({"kind": "activation", "function": function, **{key: values[key] for key in keys}})
    network = chain([*layers, {"kind": "flatten"}, {"kind": "dense", "units": 2}], (1, 3, 3))
    assert trace(network, torch.randn(1, 1, 3, 3)).filters["conv1"] == (1, 2)
    assert not any(isinstance(module, nn.Identity) for module in network.modules())


ODD = [None, True, 0, -1, 2, 10**30, 0.5, float("nan"), "", "same", "x" * 300, [], [[]], [1, 1], {}]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(data=st.data())
def test_an_odd_value_in_a_stored_chain_gives_one_plain_error_or_a_network(data):
    layers = copy.deepcopy(chain().config()["layers"])
    layer = data.draw(st.sampled_from(layers))
    layer[data.draw(st.sampled_from(list(layer)))] = copy.deepcopy(data.draw(st.sampled_from(ODD)))
    try:
        network = Chain(layers=layers, input_shape=(1, 9, 13)).eval()
    except CoppiceError as error:
        assert "chain" in str(error) and len(str(error)) < 500
    else:
        assert network(torch.zeros(1, 1, 9, 13)).ndim == 2
