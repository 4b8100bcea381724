import pytest
import torch
from torch import nn
from torch.nn import functional as F

from coppice.core.errors import CoppiceError
from coppice.pruning.tracing.channels import _traced, trace


class Forward(nn.Module):
    """Two convolutions with something in between."""

    def __init__(self, between, *, inputs=6):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(inputs, 2, 1)
        self.odd = nn.Module()
        self.odd.forward = between
        self.scale = nn.Parameter(torch.ones(6, 1, 1))

    def forward(self, x):
        return self.conv2(self.odd(self.conv1(x)))


def test_coupled_filters_share_a_unit(networks):
    residual = trace(*networks["Residual"])
    assert residual.coupled_layers("stem.0") == ("second.0",)
    assert residual.filters["stem.0"] == residual.filters["second.0"]
    depthwise = trace(*networks["Depthwise"])
    assert depthwise.filters["depthwise.0"] == (1, 1, 2, 2, 3, 3, 4, 4)
    grouped = trace(*networks["Grouped"])
    assert grouped.filters["stem.0"] == (1, 2, 3) * 4
    assert grouped.filters["grouped.0"] == (4, 5) * 4
    joined = trace(*networks["Concatenated"])
    assert joined.filters["both.0"] == joined.filters["left.0"] + joined.filters["right.0"]
    assert joined.coupled_layers("both.0") == ("left.0", "right.0")


def test_the_output_layer_never_leaves(any_network):
    network, example = any_network
    channels = trace(network, example)
    last = channels.layers[-1]
    assert not channels.can_be_cut(last)
    assert "output" in channels.reasons[last]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_tracing_is_the_same_frozen_in_any_mode_and_restores_flags(any_network, mode):
    network, example = any_network
    expected = trace(network.eval(), example)
    network.train().requires_grad_(False)
    with mode():
        assert trace(network, example) == expected
    assert all(module.training for module in network.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_an_unknown_operator_is_refused_by_name_and_module(image):
    network = Forward(lambda x: torch.i0(x))
    with pytest.raises(CoppiceError, match="'i0' in 'odd'"):
        trace(network, image)
    assert network.training and not network.conv1._forward_hooks


def test_a_network_that_does_not_run_is_refused_with_the_shape(plain):
    with pytest.raises(CoppiceError, match=r"does not run on an example of shape \(1, 3, 8, 12\)"):
        trace(plain, torch.zeros(1, 3, 8, 12))


@pytest.mark.parametrize(
    ("between", "reason"),
    [
        (lambda x: x.softmax(1), "normalised together by 'softmax' in 'odd'"),
        (lambda x: F.group_norm(x, 2), "normalised together by 'native_group_norm' in 'odd'"),
        (lambda x: x - x.mean(1, keepdim=True), "mixed by 'mean' in 'odd'"),
        (
            lambda x: F.max_pool2d(x.transpose(1, 2), 3, 1, 1).transpose(1, 2),
            "mixed by 'max_pool2d_with_indices'",
        ),
        (lambda x: x.reshape(1, 8, 6, 12).transpose(1, 2), "mixed on the way into 'conv2'"),
        (lambda x: x + torch.ones(6, 1, 1), "tied to values that cannot be cut"),
        (
            lambda x: (x.flatten(2) @ x.flatten(2).mT).unsqueeze(1).expand(1, 6, 6, 6),
            "mixed by 'bmm' in 'odd'",
        ),
    ],
)
def test_filters_that_are_mixed_are_pinned_with_the_reason(image, between, reason):
    channels = trace(Forward(between), image)
    assert not channels.can_be_cut("conv1")
    assert reason in channels.reasons["conv1"]


@pytest.mark.parametrize(
    "between",
    [
        lambda x: x * 2 + 1,
        lambda x: x.softmax(3),
        lambda x: F.layer_norm(x, (8, 12)),
        lambda x: torch.stack([x, x]).amax(0),
        lambda x: torch.where(x > 0, x, torch.zeros_like(x)),
        lambda x: x * torch.ones(8, 12) + torch.tensor(3.0),
        lambda x: x.flip(1),
        lambda x: F.interpolate(x, scale_factor=2),
        lambda x: x.masked_fill(x < 0, 1.0).unsqueeze(0).squeeze(0),
    ],
)
def test_everyday_operators_keep_filters_free(image, between):
    channels = trace(Forward(between), image)
    assert channels.filters["conv1"] == (1, 2, 3, 4, 5, 6)


def test_a_frozen_linear_layer_on_a_transposed_input_is_followed():
    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.one, self.two = nn.Conv1d(2, 6, 3), nn.Linear(6, 5), nn.Linear(5, 2, bias=False)

        def forward(self, x):
            return self.two(self.one(self.conv(x).transpose(1, 2)).transpose(0, 1)).mean(0)

    network = Head().requires_grad_(False)
    channels = trace(network, torch.randn(1, 2, 9))
    assert channels.filters["conv"] == (1, 2, 3, 4, 5, 6)
    assert channels.filters["one"] == (7, 8, 9, 10, 11)


def test_a_linear_layer_along_time_leaves_channels_free_but_not_itself():
    network = nn.Sequential(nn.Conv1d(2, 6, 3), nn.Linear(7, 4), nn.ReLU(), nn.Conv1d(6, 2, 1))
    for frozen in (False, True):
        channels = trace(network.requires_grad_(not frozen), torch.randn(1, 2, 9))
        assert channels.filters["0"] == (1, 2, 3, 4, 5, 6)
        assert "another axis" in channels.reasons["1"]


def test_a_parameter_that_scales_channels_leaves_with_them(image):
    network = Forward(None)
    network.odd.forward = lambda x: x * network.scale
    cuts = {cut.tensor: cut.units for cut in trace(network, image).cuts if not cut.reads}
    assert cuts["scale"] == (1, 2, 3, 4, 5, 6)


def test_computed_weights_are_pinned_not_guessed(image):
    network = nn.Sequential(nn.Conv2d(1, 4, 1), nn.utils.parametrizations.spectral_norm(nn.Conv2d(4, 3, 1)))
    network.append(nn.Conv2d(3, 2, 1))
    channels = trace(network, image)
    assert "computed, not stored" in channels.reasons["0"]
    assert "1" not in channels.layers


@pytest.mark.parametrize(
    "between",
    [
        lambda x: torch.cat(x.chunk(2, 1), 1),
        lambda x: torch.cat(x.split(3, 1)[::-1], 1),
        lambda x: x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2),
        lambda x: F.channel_shuffle(x, 2),
    ],
)
def test_equal_parts_lose_alike(image, between):
    assert trace(Forward(between), image).filters["conv1"] == (1, 2, 3, 1, 2, 3)


def test_convolutions_are_not_computed_unless_the_forward_looks_at_values(image):
    seen = []

    def between(x):
        seen.append(float(x.abs().sum()) if network.looks else x.abs().sum())
        return x

    network = Forward(between)
    network.looks = False
    quick = trace(network, image)
    assert float(seen.pop()) == 0 and not seen
    network.looks = True
    assert trace(network, image) == quick
    assert seen[-1] > 0


def test_a_forward_that_catches_everything_is_still_traced_with_true_values(image):
    network = Forward(None)

    def between(x):
        try:
            return x if bool((image != 0).any()) else x.sum(1, keepdim=True).expand_as(x)
        except BaseException:
            return x.sum(1, keepdim=True).expand_as(x)

    network.odd.forward = between
    assert trace(network, image).filters["conv1"] == (1, 2, 3, 4, 5, 6)


def test_every_network_is_traced_the_same_with_and_without_values(any_network):
    network, example = any_network
    assert _traced(network, example, values=False) == _traced(network, example, values=True)


def test_the_switch_for_fused_attention_comes_back(image):
    before = torch.backends.mha.get_fastpath_enabled()
    with pytest.raises(CoppiceError):
        trace(Forward(lambda x: torch.i0(x)), image)
    assert torch.backends.mha.get_fastpath_enabled() == before
