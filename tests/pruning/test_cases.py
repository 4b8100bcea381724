"""Every case in which Torch-Pruning 1.6.1 was tried and that can be right is right here, and more of the kind.

What is right is checked against the uncut network in which the consumers are fed zeros, by hooks that know nothing of
how channels were traced.
"""

import functools

import pytest
import torch
from benchmarks.mobilenet_v3 import MobileNetV3
from tests.pruning.cutting import Two, check, grouped, lively, refused, without
from torch import nn

from coppice.core.errors import CoppiceError
from coppice.networks.cnn14 import CNN14
from coppice.networks.cp_mobile import CPMobile
from coppice.networks.dcase2021 import DCASE2021
from coppice.pruning.surgery.masking import copied_network
from coppice.pruning.surgery.prune import prune
from coppice.pruning.tracing.channels import trace

# --- networks of audio ---


def test_dcase_baseline_first_convolution():
    check(DCASE2021(frames=100), (1, 40, 100), {"conv1": [1, 5, 9]}, {"conv2": [1, 5, 9]})


def test_dcase_baseline_third_convolution_into_the_flattened_dense_layer():
    dead = [2 * channel + position for channel in (0, 3, 31) for position in (0, 1)]
    small = check(DCASE2021(frames=500), (1, 40, 500), {"conv3": [0, 3, 31]}, {"dense1": dead})
    assert small.dense1.in_features == 58


def small_mobilenet():
    return MobileNetV3(width=0.25, classes=5)


slow = functools.partial(pytest.param, marks=pytest.mark.proof)


@pytest.mark.parametrize(
    ("gone", "dead"),
    [
        # Expanded channels of a block with squeeze-and-excitation, from its expansion.
        slow({"blocks__4__expand__0": [0, 3]}, {"blocks.4.excite.squeeze": [0, 3], "blocks.4.project.0": [0, 3]}),
        # The same from the depthwise convolution, which leaves with the expansion.
        ({"blocks__4__depthwise__0": [0, 3]}, {"blocks.4.excite.squeeze": [0, 3], "blocks.4.project.0": [0, 3]}),
        # What the squeeze says.
        slow({"blocks__4__excite__squeeze": [1, 5]}, {"blocks.4.excite.excite": [1, 5]}),
        # The trunk, through the residual of the first block.
        (
            {"stem__0": [2, 7]},
            {"blocks.0.depthwise.0": [2, 7], "blocks.0.project.0": [2, 7], "blocks.1.expand.0": [2, 7]},
        ),
        slow({"last__0": [0, 9]}, {"dense": [0, 9]}),
        slow({"dense": [5]}, {"classes": [5]}),
    ],
)
def test_mobilenet_with_squeeze_and_excitation(gone, dead):
    check(small_mobilenet(), (1, 64, 48), gone, dead)


def test_cp_mobile_loses_channels_of_its_trunk_and_of_its_expansions():
    network, shape = CPMobile(bands=64, frames=33), (1, 64, 33)
    b = "stages.s1.b1.block"
    small = check(network, shape, {"stages__s1__b1__block__0__0": [0, 3]}, {f"{b}.2.0": [0, 3]})
    assert small.get_submodule(f"{b}.1.0").groups == 62
    readers = ("stages.s1.b1", "stages.s1.b2", "stages.s1.b3", "stages.s2.b4")
    small = check(network, shape, {"in_c__1__0": [1, 30]}, {f"{name}.block.0.0": [1, 30] for name in readers})
    assert small.config()["widths"][:3] == [30, 30, 30]
    check(network, shape, {"stages__s3__b6__block__2__0": [7, 20, 41]}, {"feed_forward.0": [7, 20, 41]})


def test_cnn14_with_its_normalised_bands_and_the_head_of_maximum_and_mean():
    network = CNN14(widths=[4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9], dense=10, classes=3)
    check(network, (1, 64, 96), {"conv_block2__conv1": [1, 4]}, {"conv_block2.conv2": [1, 4]})
    check(network, (1, 64, 96), {"conv_block6__conv2": [0, 8]}, {"fc1": [0, 8]})


def test_network_of_conv1d():
    network = nn.Sequential(nn.Conv1d(1, 8, 9, 4), nn.BatchNorm1d(8), nn.ReLU(), nn.Conv1d(8, 6, 3), nn.Tanh())
    network.extend([nn.AdaptiveAvgPool1d(2), nn.Flatten(), nn.Linear(12, 3)])
    check(network, (1, 200), {"0": [2, 5]}, {"3": [2, 5]})
    check(network, (1, 200), {"3": [0]}, {"7": [0, 1]})


def test_network_of_conv3d():
    network = nn.Sequential(nn.Conv3d(1, 6, 3, padding=1), nn.BatchNorm3d(6), nn.ReLU(), nn.MaxPool3d(2))
    network.extend([nn.Conv3d(6, 4, 1), nn.AdaptiveMaxPool3d(1), nn.Flatten(), nn.Linear(4, 2)])
    check(network, (1, 4, 6, 8), {"0": [1, 2, 5]}, {"4": [1, 2, 5]})


# --- ways in which channels meet ---


@pytest.mark.parametrize("norm", [nn.InstanceNorm2d(6), nn.BatchNorm2d(6, affine=False), nn.PReLU(6), nn.PReLU()])
def test_layers_that_are_told_their_channels_are_told_the_new_number(norm, recwarn):
    network = nn.Sequential(nn.Conv2d(1, 6, 3), norm, nn.Tanh(), nn.Conv2d(6, 2, 1))
    small = check(network, (1, 6, 6), {"0": [1, 3]}, {"3": [1, 3]})
    assert getattr(small[1], "num_features", 4) == 4
    assert getattr(small[1], "num_parameters", 4) in (1, 4)
    assert not recwarn


def test_concatenated_skip():
    network = Two(
        lambda net, x: net.head(torch.cat([net.a(x), net.b(net.a(x))], 1)).mean((2, 3)),
        **{"a": nn.Conv2d(1, 4, 3, padding=1), "b": nn.Conv2d(4, 3, 3, padding=1), "head": nn.Conv2d(7, 2, 1)},
    )
    check(network, (1, 6, 6), {"a": [1]}, {"b": [1], "head": [1]})
    check(network, (1, 6, 6), {"b": [0, 2]}, {"head": [4, 6]})


def test_head_of_mean_beside_maximum():
    network = Two(
        lambda net, x: net.head(torch.cat([net.a(x).mean((2, 3)), net.a(x).amax((2, 3))], 1)),
        **{"a": nn.Conv2d(1, 5, 3), "head": nn.Linear(10, 2)},
    )
    check(network, (1, 6, 6), {"a": [1, 4]}, {"head": [1, 4, 6, 9]})


def test_sub_spectral_normalisation(networks):
    network, example = networks["SubSpectral"]
    check(network, example.shape[1:], {"stem": [0, 3]}, {"twice": [0, 3], "last": [0, 3]})


def chunked(way, parts=2):
    return Two(
        lambda net, x: net.head(way(net, net.a(x))).mean((2, 3)),
        **{
            "a": nn.Conv2d(1, 8, 3),
            "b": nn.Conv2d(4, 4, 1),
            "c": nn.Conv2d(4, 4, 1),
            "head": nn.Conv2d(8 // parts, 2, 1),
        },
    )


def test_chunks_that_gate_each_other():
    network = chunked(lambda net, x: x.chunk(2, 1)[0] * x.chunk(2, 1)[1].sigmoid())
    check(network, (1, 6, 6), {"a": [1, 5]}, {"head": [1]})


def test_chunks_that_go_their_own_ways_lose_alike():
    network = chunked(lambda net, x: torch.cat([net.b(x.chunk(2, 1)[0]), net.c(x.chunk(2, 1)[1])], 1), parts=1)
    check(network, (1, 6, 6), {"a": [2, 6]}, {"b": [2], "c": [2]})
    assert "filters [0, 4] of 'a' live and die together" in refused(network, (1, 6, 6), {"a": [0]})


def test_a_split_into_fixed_sizes_is_refused():
    network = chunked(
        lambda net, x: torch.cat([net.b(x.split([4, 4], 1)[0]), net.c(x.split([4, 4], 1)[1])], 1), parts=1
    )
    assert "after cutting 'a' the network is not the masked one: it does not run" in refused(
        network, (1, 6, 6), {"a": [0, 4]}
    )


def test_parallel_heads_all_lose_their_inputs():
    network = Two(
        lambda net, x: torch.cat([net.one(net.a(x).mean((2, 3))), net.two(net.a(x)).amax((2, 3))], 1),
        **{"a": nn.Conv2d(1, 5, 3), "one": nn.Linear(5, 2), "two": nn.Conv2d(5, 3, 1)},
    )
    check(network, (1, 6, 6), {"a": [0, 3]}, {"one": [0, 3], "two": [0, 3]})


# --- grouped convolutions ---


def test_one_filter_of_every_group_leaves():
    small = check(grouped(), (1, 8, 8), {"2": [1, 5, 9, 13]}, {"5": [1, 5, 9, 13]})
    assert small[2].groups == 4 and small[2].weight.shape == (12, 4, 3, 3)


def test_filters_of_some_groups_only_are_refused_with_their_partners():
    assert "filters [1, 5, 9, 13] of '2' live and die together; keep all of them or none" in refused(
        grouped(), (1, 8, 8), {"2": [0, 9]}
    )


def test_a_convolution_before_a_grouped_one_loses_the_same_place_in_every_group():
    small = check(grouped(), (1, 8, 8), {"0": [0, 1, 4, 5, 8, 9, 12, 13]}, {"2": [0, 1, 4, 5, 8, 9, 12, 13]})
    assert small[2].in_channels == 8 and small[2].weight.shape == (16, 2, 3, 3)


@pytest.mark.parametrize("indices", [[0], [0, 5, 10, 15]])
def test_a_convolution_before_a_grouped_one_cannot_lose_other_filters(indices):
    assert "of '0' live and die together; keep all of them or none" in refused(grouped(), (1, 8, 8), {"0": indices})


def test_depthwise_with_multiplier_two():
    small = check(grouped(8, 16, 8), (1, 8, 8), {"0": [1, 6]}, {"5": [2, 3, 12, 13]})
    assert small[2].groups == small[2].in_channels == 6 and small[2].out_channels == 12
    check(grouped(8, 16, 8), (1, 8, 8), {"2": [2, 3, 12, 13]}, {"5": [2, 3, 12, 13]})
    assert "live and die together" in refused(grouped(8, 16, 8), (1, 8, 8), {"2": [2]})


def test_transposed():
    check(grouped(6, 5, 1, nn.ConvTranspose2d), (1, 8, 8), {"0": [1, 4]}, {"2": [1, 4]})
    check(grouped(6, 5, 1, nn.ConvTranspose2d), (1, 8, 8), {"2": [0, 2]}, {"5": [0, 2]})


def test_grouped_transposed():
    small = check(grouped(6, 9, 3, nn.ConvTranspose2d), (1, 8, 8), {"2": [1, 4, 7]}, {"5": [1, 4, 7]})
    assert small[2].out_channels == 6 and small[2].weight.shape == (6, 2, 3, 3)
    check(grouped(6, 9, 3, nn.ConvTranspose2d), (1, 8, 8), {"0": [0, 2, 4]}, {"2": [0, 2, 4]})


def test_depthwise_transposed():
    small = check(grouped(4, 8, 4, nn.ConvTranspose2d), (1, 8, 8), {"0": [2]}, {"5": [4, 5]})
    assert small[2].groups == small[2].in_channels == 3 and small[2].out_channels == 6


def test_a_single_output_channel_is_not_taken_for_depthwise():
    network = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 1, 3), nn.Flatten())
    check(network, (1, 8, 8), {"0": [0, 4]}, {"2": [0, 4]})


# --- heads ---


@pytest.mark.parametrize(
    ("order", "dead"),
    [
        ((0, 3, 1, 2), [4 * c + f for c in (1, 5) for f in range(4)]),  # frames, then channels with their bands
        ((0, 3, 2, 1), [6 * f + c for c in (1, 5) for f in range(4)]),  # frames, then bands with their channels
    ],
)
def test_permuted_and_flattened_into_a_linear_layer(order, dead):
    network = Two(
        lambda net, x: net.head(net.a(x).permute(order).flatten(2)).mean(1),
        **{"a": nn.Conv2d(1, 6, 3, padding=1), "head": nn.Linear(24, 2)},
    )
    small = check(network, (1, 4, 5), {"a": [1, 5]}, {"head": dead})
    assert small.head.in_features == 16


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN])
@pytest.mark.parametrize("layers", [1, 2])
def test_recurrent_layers_read_fewer_channels(kind, layers):
    network = Two(
        lambda net, x: net.head(net.rnn(net.a(x).permute(0, 3, 1, 2).flatten(2))[0][:, -1]),
        **{
            "a": nn.Conv2d(1, 6, 3, padding=1),
            "rnn": kind(24, 5, layers, batch_first=True, bidirectional=layers == 2),
            "head": nn.Linear(5 * layers, 2),
        },
    )
    dead = [4 * c + f for c in (0, 3) for f in range(4)]
    small = check(network, (1, 4, 5), {"a": [0, 3]}, {"rnn": dead})
    assert small.rnn.input_size == 16 and small.rnn.hidden_size == 5
    small.float()(torch.randn(2, 1, 4, 5)).sum().backward()


def attention(way, **modules):
    return Two(
        lambda net, x: net.head(way(net, net.a(x).flatten(2).mT).mean(1)),
        **{"a": nn.Conv2d(1, 6, 3), **modules, "head": nn.Linear(8, 2)},
    )


def test_a_projection_in_front_of_attention_reads_fewer_channels_but_stays_as_wide():
    network = attention(
        lambda net, x: net.attend(*[net.project(x)] * 3)[0],
        **{"project": nn.Linear(6, 8), "attend": nn.MultiheadAttention(8, 2, batch_first=True)},
    )
    check(network, (1, 5, 6), {"a": [0, 4]}, {"project": [0, 4]})
    assert "'attend', whose width is fixed" in refused(network, (1, 5, 6), {"project": [1]})


def test_attention_to_frames_of_another_width_reads_fewer_channels():
    network = attention(
        lambda net, x: net.attend(net.query.weight[None].expand(len(x), 2, 8), x, x)[0],
        **{"query": nn.Embedding(2, 8), "attend": nn.MultiheadAttention(8, 2, batch_first=True, kdim=6, vdim=6)},
    )
    small = check(network, (1, 5, 6), {"a": [0, 4]}, {"attend": [0, 4]})
    assert small.attend.kdim == small.attend.vdim == 4


def test_an_encoder_of_attention_loses_units_of_its_feed_forward_layer():
    network = attention(
        lambda net, x: net.encode(net.project(x)),
        **{"project": nn.Linear(6, 8), "encode": nn.TransformerEncoderLayer(8, 2, 10, batch_first=True)},
    )
    check(network, (1, 5, 6), {"a": [5]}, {"project": [5]})
    network, example = lively(network), torch.randn(1, 1, 5, 6, dtype=torch.float64)
    small = prune(network, without(network, example, encode__linear1=[0, 7]), example=example)
    assert small.encode.linear1.out_features == small.encode.linear2.in_features == 8


# --- weights that are not stored as they are used ---


@pytest.mark.parametrize("norm", [nn.utils.parametrizations.weight_norm, torch.nn.utils.weight_norm])
@pytest.mark.parametrize("make", [nn.Conv2d, nn.ConvTranspose2d])
@pytest.mark.filterwarnings("ignore:.*weight_norm")
def test_weight_normalisation_keeps_the_values_of_what_stays(norm, make):
    network = nn.Sequential(norm(make(1, 6, 3)), nn.Tanh(), norm(make(6, 5, 3)), nn.Tanh(), nn.Conv2d(5, 2, 1))
    for gone, dead in (({"0": [1, 3]}, {"2": [1, 3]}), ({"2": [0, 4]}, {"4": [0, 4]})):
        small = check(network, (1, 6, 6), gone, dead)
        assert type(small[2]) is type(network[2])
    small.train()(torch.randn(2, 1, 6, 6, dtype=torch.float64)).sum().backward()
    assert all(parameter.grad is not None for parameter in small.parameters())
    assert copied_network(small)[2].weight.shape == small[2].weight.shape


@pytest.mark.filterwarnings("ignore:.*weight_norm")
def test_weight_normalisation_after_a_training_step_is_copied_and_cut():
    network = nn.Sequential(torch.nn.utils.weight_norm(nn.Conv1d(1, 4, 3)), nn.ReLU(), nn.Conv1d(4, 2, 1))
    network(torch.randn(1, 1, 8)).sum().backward()  # leaves a weight that is no leaf of the graph in the layer
    check(network, (1, 8), {"0": [2]}, {"2": [2]})


def test_a_filter_of_which_only_zeros_stay_gives_zeros_not_nan():
    network = nn.Sequential(nn.Conv1d(1, 2, 1), nn.utils.parametrizations.weight_norm(nn.Conv1d(2, 2, 1)))
    with torch.no_grad():
        network[1].weight = torch.tensor([[1.0, 0.0], [1.0, 2.0]])[:, :, None]
    network.append(nn.Conv1d(2, 1, 1))
    check(network, (1, 5), {"0": [0]}, {"1": [0]})


def test_spectral_normalisation_is_refused_by_the_name_of_the_layer():
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.utils.parametrizations.spectral_norm(nn.Conv2d(4, 4, 3)), nn.Conv2d(4, 2, 1)
    )
    assert "filter 0 of '0' cannot be cut: its filters are read in '1" in refused(network, (1, 8, 8), {"0": [0]})
    with pytest.raises(CoppiceError, match="there is no layer '1' with filters that can be followed"):
        trace(network, torch.randn(1, 1, 8, 8, dtype=torch.float64)).units("1")


# --- tensors that are put together or picked from ---


def test_circular_padding_and_values_written_into_a_new_tensor():
    network = nn.Sequential(nn.Conv2d(1, 6, 3), nn.Conv2d(6, 5, 3, padding=1, padding_mode="circular"), nn.Tanh())
    check(network.append(nn.Conv2d(5, 2, 1)), (1, 6, 6), {"0": [1, 4]}, {"1": [1, 4]})

    def shifted(net, x):
        x = net.a(x)
        later = torch.zeros_like(x)
        later[:, :, 1:] = x[:, :, :-1]
        return net.head(later + x.roll(1, 2))

    check(Two(shifted, a=nn.Conv2d(1, 6, 3), head=nn.Conv2d(6, 2, 1)), (1, 6, 6), {"a": [0]}, {"head": [0]})


def test_picking_frames_leaves_channels_free_and_picking_channels_is_refused():
    network = Two(
        lambda net, x: net.head(net.a(x)[:, :, :, torch.tensor([0, 2, 3])]),
        **{"a": nn.Conv2d(1, 6, 3), "head": nn.Conv2d(6, 2, 1)},
    )
    check(network, (1, 6, 6), {"a": [2, 3]}, {"head": [2, 3]})
    network.way = lambda net, x: net.head(net.a(x)[:, torch.tensor([5, 4, 3, 2, 1, 0])])
    assert "the operator 'index' in the network's own forward cannot be followed" in refused(
        network, (1, 6, 6), {"a": [2]}
    )


def test_a_compiled_network_is_followed_as_it_was_written():
    network = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 2, 1)).double().eval()
    example = torch.randn(1, 1, 8, 8, dtype=torch.float64)
    expected = prune(network, without(network, example, **{"0": [1, 5]}), example=example)
    wrapped = torch.compile(network)
    small = prune(wrapped, without(wrapped, example, _orig_mod__0=[1, 5]), example=example)
    torch.testing.assert_close(small._orig_mod(example), expected(example))
