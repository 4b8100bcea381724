import json

import pytest
import torch
from torch import nn

from coppice.audio.front_end import front_end
from coppice.complexity.latency import measure_latency
from coppice.complexity.memory import peak_activation_bytes
from coppice.complexity.params import count_params
from coppice.complexity.profile import profile
from coppice.core.errors import CoppiceError
from coppice.networks.classifier import Classifier
from coppice.networks.dcase2021 import DCASE2021


def test_frozen_parameters_count():
    network = DCASE2021(frames=500).requires_grad_(False)
    assert count_params(network, torch.zeros(1, 1, 40, 500)).trainable == 46_118


def test_a_normalisation_that_stands_alone_costs_a_scale_and_a_shift():
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4, affine=False))
    counts = count_params(network, torch.zeros(1, 3, 5, 5))
    assert (counts.total, counts.trainable, counts.bn_folded) == (6 + 6 + 16 + 8, 6 + 16, 6 + 16 + 8)


def chain(inplace: bool) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(inplace), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 5)
    )


@pytest.mark.parametrize("inplace, peak", [(False, 64 + 256 + 256), (True, 64 + 256 + 64 + 128)])
def test_peak_memory_of_a_chain_is_what_one_counts_by_hand(inplace, peak):
    # Elements: input 1x8x8 = 64, convolution 4x8x8 = 256, ReLU 256 more or in place, pool 4x4x4 = 64 with its
    # indices as int64 (128 floats). The input stays, since the caller holds it. Weights do not count.
    assert peak_activation_bytes(chain(inplace), torch.randn(1, 1, 8, 8)) == 4 * peak


def test_peak_memory_counts_what_a_shortcut_keeps_alive():
    class Shortcut(nn.Module):
        def forward(self, x):
            return (x.exp().sin() + x).sum()

    # While exp and sin are both alive: three times 100.
    assert peak_activation_bytes(Shortcut(), torch.zeros(1, 100)) == 4 * 300


def test_peak_memory_is_the_same_each_time_and_halves_with_the_format():
    network, example = chain(False).double(), torch.randn(1, 1, 8, 8).double()
    first = peak_activation_bytes(network, example)
    assert first == peak_activation_bytes(network, example)
    assert first == 2 * peak_activation_bytes(network.float(), example.float())


def test_latency_is_positive_and_threads_and_modes_come_back():
    network = DCASE2021(widths=(2, 2, 2), frames=25).train()
    before = torch.get_num_threads()
    times = measure_latency({"a": network, "b": nn.Flatten()}, torch.zeros(1, 1, 40, 25), repeats=5, warmup=1)
    assert 0 < times["a"].latency_ms_p50 <= times["a"].latency_ms_p95
    assert times["b"].latency_ms_p50 < times["a"].latency_ms_p50
    assert torch.get_num_threads() == before and network.training


def test_threads_and_modes_come_back_after_an_error():
    network, before = nn.Linear(3, 3).train(), torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        with pytest.raises(RuntimeError):
            measure_latency({"a": network}, torch.zeros(1, 4))
        assert torch.get_num_threads() == before + 1 and network.training
    finally:
        torch.set_num_threads(before)


def test_a_profile_is_plain_data_and_names_its_layers():
    network = DCASE2021(frames=500)
    cost = profile(network, example=torch.zeros(1, 1, 40, 500), latency=False)
    again = json.loads(json.dumps(cost.to_dict(), allow_nan=False))
    assert [(layer["name"], layer["filters"], layer["params"]) for layer in again["layers"]] == [
        ("conv1", 16, 800),
        ("conv2", 16, 12_560),
        ("conv3", 32, 25_120),
        ("dense1", 100, 6_500),
        ("dense2", 10, 1_010),
    ]
    assert sum(layer["macs"] for layer in again["layers"]) == again["macs"] == 286_637_800
    assert again["layers"][2]["output_shape"] == [1, 32, 8, 100]
    assert again["latency_ms_p50"] is None and again["stored_as"] is None


def test_a_classifier_is_profiled_on_its_own_input_and_left_as_it_is():
    network = DCASE2021(widths=(3, 3, 3), classes=2, frames=25).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    classifier = Classifier(
        network, front_end("dcase2021", duration_s=0.5), ("bus", "park"), torch.zeros(40), torch.ones(40)
    )
    cost = profile(classifier)
    assert cost.input_shape == (1, 1, 40, 25) and cost.stored_as == "float32"
    assert cost.latency_ms_p50 > 0 and cost.peak_activation_bytes > 0
    assert network.training and all(torch.equal(t, before[name]) for name, t in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_a_bare_module_without_an_example_is_refused():
    with pytest.raises(CoppiceError, match="give one example input"):
        profile(nn.Linear(3, 3))
