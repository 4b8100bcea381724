"""What compensation repairs, exactly where nothing is lost, and what it leaves alone."""

import copy
import random

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.pruning.architectures import architectures, build
from torch import nn
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves

import coppice as cp
from coppice.core.errors import CoppiceError
from coppice.networks.classifier import Classifier
from coppice.networks.registry import build_network
from coppice.pruning.compensation import refitted_layer, refitting
from coppice.pruning.compensation.compensate import METHODS, compensate
from coppice.pruning.doomed import doomed_units
from coppice.pruning.plan import LayerPlan, PruningPlan
from coppice.pruning.surgery.prune import prune
from coppice.pruning.tracing.channels import trace


def plan_of(**kept):
    return PruningPlan(None, tuple(LayerPlan(name, filters, keep) for name, (filters, keep) in kept.items()))


@torch.no_grad()
def duplicate_(network, channels, unit, of):
    """Make one unit make what another makes, in every tensor that makes it."""
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    for cut in channels.cuts:
        if not cut.reads:
            mine, theirs = ([i for i, u in enumerate(cut.units) if u == one] for one in (unit, of))
            tensor = tensors[cut.tensor].movedim(cut.axis, 0)
            if len(mine) == len(theirs):
                tensor[mine] = tensor[theirs].clone()


def cut_of_a_duplicate(network, example, draw):
    """Duplicate a unit somewhere in a network; return the plan that removes one of the two."""
    channels = trace(network, example)
    candidates = [name for name in channels.layers if len(set(channels.units(name)) - {0}) > 1]
    layer = draw(candidates)
    units = channels.units(layer)
    alike = sorted(set(units) - {0})
    sizes = {unit: tuple(tuple(other).count(unit) for other in channels.filters.values()) for unit in alike}
    goes = draw(alike)
    stays = [unit for unit in alike if unit != goes and sizes[unit] == sizes[goes]]
    if not stays:
        return None
    duplicate_(network, channels, goes, draw(stays))
    keep = tuple(index for index, unit in enumerate(units) if unit != goes)
    plan = PruningPlan(None, (LayerPlan(layer, len(units), keep),))
    doomed_units(channels, plan)
    return plan


@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("how", METHODS)
def test_a_duplicate_filter_goes_without_a_trace(some_network, how, data):
    network, example = some_network
    network = copy.deepcopy(network).double()
    clips = torch.randn(40, *example.shape[1:], generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    plan = cut_of_a_duplicate(network, clips[:1], lambda some: data.draw(st.sampled_from(some)))
    if plan is None:
        return
    small = prune(network, plan, example=clips[:1])
    repaired = compensate(small, network, plan, how, clips=clips, ridge=1e-12)
    others = torch.randn(5, *example.shape[1:], generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    others = others if how == "merge" else clips  # what no clip shows, no fit knows
    with torch.no_grad():
        expected, found = network.eval()(others), repaired.eval()(others)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.filterwarnings("ignore:.*weight_norm", "ignore:Using padding='same'")
@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(architecture=architectures(), seed=st.integers(0, 99), share=st.floats(0.1, 0.6))
def test_random_networks_come_nearer_to_what_they_were_or_are_refused(architecture, seed, share):
    network, example = build(architecture)
    channels = trace(network, example)
    draw = random.Random(seed)
    name = draw.choice([name for name, units in channels.filters.items() if len(set(units) - {0}) > 1] or [None])
    if name is None:
        return
    units = sorted(set(channels.units(name)) - {0})
    gone = draw.sample(units, max(1, int(share * (len(units) - 1))))
    keep = tuple(index for index, unit in enumerate(channels.units(name)) if unit not in gone)
    plan = PruningPlan(None, (LayerPlan(name, len(channels.units(name)), keep),))
    try:
        small = prune(network, plan, example=example)
    except CoppiceError as refused:
        assert "leaves" in str(refused)  # a layer that makes nothing but these
        return
    x = torch.randn(12, *example.shape[1:], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    def distance(other):
        with torch.no_grad():
            pairs = zip(tree_leaves(other(x)), tree_leaves(network(x)), strict=True)
            return sum(float((mine - whole).square().mean()) for mine, whole in pairs)

    assert np.isfinite(distance(compensate(small, network, plan, "merge", example=example)))
    try:
        assert distance(compensate(small, network, plan, "least_squares", clips=x)) <= 1.1 * distance(small) + 1e-12
    except CoppiceError as refused:
        assert "MultiheadAttention" in str(refused)


def relu_net(bias=True, norm=True):
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, bias=bias),
        nn.BatchNorm2d(6) if norm else nn.Identity(),
        nn.ReLU(),
        nn.Conv2d(6, 5, 3, bias=bias),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d((2, 3)),
        nn.Flatten(),
        nn.Linear(30, 4),
    ).double()


def lively_(network, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean):
                tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=torch.float64))
            module.running_var.uniform_(0.5, 2, generator=generator)
    return network.eval()


def pictures(count, seed=0):
    return torch.randn(count, 1, 8, 9, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_behind_relu_and_batch_normalisation_a_multiple_of_a_survivor_is_merged_exactly():
    network = lively_(relu_net())
    conv, norm = network[0], network[1]
    with torch.no_grad():  # what filter 4 makes after the normalisation is 2.5 times what filter 1 makes
        conv.weight[4] = 3 * conv.weight[1]
        conv.bias[4] = 3 * conv.bias[1] - 0.7
        norm.running_mean[4] = 3 * norm.running_mean[1] - 0.7
        norm.running_var[4] = 9 * (norm.running_var[1] + norm.eps) - norm.eps
        norm.weight[4], norm.bias[4] = 2.5 * norm.weight[1], 2.5 * norm.bias[1]
    plan = plan_of(**{"0": (6, (0, 1, 2, 3, 5))})
    small = prune(network, plan, example=pictures(1))
    merged = compensate(small, network, plan, "merge", example=pictures(1))
    x = pictures(7, seed=1)
    torch.testing.assert_close(merged(x), network(x), rtol=1e-10, atol=1e-10)
    with torch.no_grad():
        assert float((small(x) - network(x)).abs().max()) > 1e-3


def test_a_filter_that_points_the_other_way_is_merged_into_nothing():
    network = nn.Sequential(nn.Conv1d(1, 2, 1, bias=False), nn.ReLU(), nn.Conv1d(2, 1, 1))
    with torch.no_grad():
        network[0].weight[1] = -network[0].weight[0]
    plan, x = plan_of(**{"0": (2, (0,))}), torch.randn(1, 1, 4)
    small = prune(network, plan, example=x)
    assert torch.equal(compensate(small, network, plan, "merge", example=x)[2].weight, small[2].weight)


def patches(x, size):
    """Rows of a 2-D convolution without padding, by plain loops."""
    clips, _, high, wide = x.shape
    return np.array(
        [
            np.append(x[n, :, i : i + size, j : j + size].ravel(), 1.0)
            for n in range(clips)
            for i in range(high - size + 1)
            for j in range(wide - size + 1)
        ]
    )


def test_the_layer_behind_a_cut_becomes_what_lstsq_says():
    network, x = lively_(relu_net()), pictures(20)
    plan = plan_of(**{"0": (6, (0, 2, 3, 5))})
    small = prune(network, plan, example=x[:1])
    repaired = compensate(small, network, plan, "least_squares", clips=x, following=False, ridge=1e-13)
    with torch.no_grad():
        read, wanted = small[:3](x).numpy(), network[:4](x).numpy()
    expected = np.linalg.lstsq(patches(read, 3), wanted.transpose(0, 2, 3, 1).reshape(-1, 5), rcond=None)[0]
    np.testing.assert_allclose(repaired[3].weight.detach().numpy(), expected[:-1].T.reshape(5, 4, 3, 3), atol=1e-7)
    np.testing.assert_allclose(repaired[3].bias.detach().numpy(), expected[-1], atol=1e-7)


def test_a_layer_without_a_bias_moves_the_mean_of_the_normalisation_behind_it():
    network, x = lively_(relu_net(bias=False)), pictures(20)
    plan = plan_of(**{"0": (6, (0, 2, 3, 5))})
    small = prune(network, plan, example=x[:1])
    repaired = compensate(small, network, plan, "least_squares", clips=x, following=False)
    with torch.no_grad():
        wanted, made = network[:5](x), repaired[:5](x)
    torch.testing.assert_close(made.mean((0, 2, 3)), wanted.mean((0, 2, 3)), rtol=1e-9, atol=1e-9)
    assert repaired[3].bias is None
    assert not torch.equal(repaired[4].running_mean, small[4].running_mean)
    assert torch.equal(repaired[4].running_var, small[4].running_var)


class TwoReaders(nn.Module):
    """One layer reads the cut one, one stands beside it, and their sum is classified."""

    def __init__(self):
        super().__init__()
        self.stem, self.cut, self.beside = nn.Conv1d(1, 3, 1), nn.Conv1d(3, 6, 3), nn.Conv1d(3, 4, 3)
        self.reads, self.also = nn.Conv1d(6, 4, 1), nn.Conv1d(6, 4, 1)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        y = torch.relu(self.cut(x))
        return self.head((self.reads(y) * torch.sigmoid(self.also(y)) + self.beside(x)).mean(2))


@pytest.mark.parametrize(
    ("how", "following", "changed"),
    [
        ("merge", True, {"reads.weight", "also.weight"}),
        ("least_squares", False, {"reads.weight", "also.weight", "reads.bias", "also.bias"}),
        ("least_squares", True, {f"{name}.{w}" for name in ("reads", "also", "head") for w in ("weight", "bias")}),
    ],
)
def test_only_layers_behind_the_cut_change_and_no_model_of_the_caller(how, following, changed):
    network = TwoReaders()
    network.head.weight.requires_grad_(False)
    network.train()
    plan, x = plan_of(cut=(6, (0, 2, 5))), torch.randn(30, 1, 12)
    small = prune(network, plan, example=x[:1])
    before = [{name: t.clone() for name, t in one.state_dict().items()} for one in (network, small)]
    repaired = compensate(small, network, plan, how, clips=x, following=following)
    for one, was in zip((network, small), before, strict=True):
        assert all(torch.equal(tensor, was[name]) for name, tensor in one.state_dict().items())
        assert all(module.training for module in one.modules())
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in one.modules())
    differs = {name for name, tensor in repaired.state_dict().items() if not torch.equal(tensor, before[1][name])}
    beside = {"beside.weight", "beside.bias"}  # runs behind the cut layer: refitted, to what it is
    assert differs - beside == changed and (following or not differs & beside)
    assert repaired.training and not repaired.head.weight.requires_grad


def test_every_method_is_nearer_to_the_uncut_network_than_none():
    network, x = lively_(relu_net()), pictures(60)
    plan = plan_of(**{"0": (6, (0, 2, 3, 5)), "3": (5, (1, 2, 4))})
    small = prune(network, plan, example=x[:1])
    held = pictures(200, seed=5)

    def distance(other):
        with torch.no_grad():
            return float((other(held) - network(held)).square().mean())

    next_only = compensate(small, network, plan, "least_squares", clips=x, following=False)
    whole = compensate(small, network, plan, "least_squares", clips=x)
    assert distance(whole) <= 1.05 * distance(next_only) < 0.5 * distance(small)


def test_inputs_of_a_recurrent_layer_are_refitted_for_both_directions():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.rnn = nn.Conv1d(1, 6, 3), nn.LSTM(6, 4, bidirectional=True, batch_first=True)
            self.head = nn.Linear(8, 2)

        def forward(self, x):
            return self.head(self.rnn(torch.relu(self.conv(x)).transpose(1, 2))[0].mean(1))

    network, x = Net().double(), torch.randn(40, 1, 12, dtype=torch.float64)
    plan = plan_of(conv=(6, (1, 2, 4)))
    small = prune(network, plan, example=x[:1])
    repaired = compensate(small, network, plan, "least_squares", clips=x, following=False, ridge=1e-12)
    with torch.no_grad():
        kept, whole = (torch.relu(one.conv(x)).transpose(1, 2).reshape(-1, n) for one, n in ((small, 3), (network, 6)))
        for side in ("", "_reverse"):
            weight, bias = (getattr(network.rnn, f"{what}_ih_l0{side}") for what in ("weight", "bias"))
            columns = np.column_stack([kept.numpy(), np.ones(len(kept))])
            expected = np.linalg.lstsq(columns, F.linear(whole, weight, bias).numpy(), rcond=None)[0]
            np.testing.assert_allclose(getattr(repaired.rnn, f"weight_ih_l0{side}").numpy(), expected[:-1].T, atol=1e-7)
            np.testing.assert_allclose(getattr(repaired.rnn, f"bias_ih_l0{side}").numpy(), expected[-1], atol=1e-7)


@pytest.mark.parametrize("norm", [nn.utils.parametrizations.weight_norm, nn.utils.weight_norm])
@pytest.mark.filterwarnings("ignore:.*weight_norm")
def test_weight_normalised_layers_are_refitted_and_merged_as_others(norm):
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv1d(1, 5, 3), nn.ReLU(), nn.Conv1d(5, 4, 3), nn.ReLU(), nn.Conv1d(4, 2, 1)).double()
    normed = copy.deepcopy(plain)
    norm(normed[2])
    plan, x = plan_of(**{"0": (5, (0, 1, 4)), "2": (4, (0, 1, 3))}), torch.randn(30, 1, 12, dtype=torch.float64)
    for how in METHODS:
        found = []
        for network in (plain, normed):
            small = prune(network, plan, example=x[:1])
            found.append(compensate(small, network, plan, how, clips=x)(x))
        torch.testing.assert_close(found[1], found[0], rtol=1e-8, atol=1e-8)


def small_classifier():
    torch.manual_seed(1)
    ear = cp.front_end("dcase2021", duration_s=0.5)
    bands, frames = ear.shape
    network = build_network("dcase2021", classes=3, bands=bands, frames=frames, widths=[4, 6, 5], dense=7)
    labels, rest = ("a", "b", "c"), (torch.zeros(bands) - 8, torch.ones(bands) * 4)
    return Classifier(network, ear, labels, *rest), torch.randn(10, bands, frames) * 4 - 8


def test_a_compensated_classifier_says_so_and_is_the_same_when_loaded(tmp_path):
    classifier, clips = small_classifier()
    plan = cp.plan(classifier, "l1", keep={"conv2": 4})
    repaired = cp.compensate(cp.prune(classifier, plan), classifier, plan, "least_squares", clips=clips)
    assert [done["verb"] for done in repaired.lineage] == ["prune", "compensate"]
    said = repaired.lineage[-1]
    assert said["how"] == "least_squares" and said["clips"] == 10
    assert list(said["ridge"]) == ["conv3", "dense1", "dense2"]
    cp.save(repaired, tmp_path / "small.safetensors")
    again = cp.load(tmp_path / "small.safetensors")
    assert torch.equal(again.logits(clips), repaired.logits(clips)) and again.lineage == repaired.lineage


def test_what_does_not_fit_is_refused_in_one_sentence():
    classifier, clips = small_classifier()
    plan = cp.plan(classifier, "l1", keep={"conv2": 4})
    pruned = cp.prune(classifier, plan)
    nan = clips.clone()
    nan[3, 2, 1] = torch.nan
    other = cp.plan(classifier, "l1", keep={"conv2": 3})
    cases = [
        (("least_square", {}), r"there is no compensation 'least_square'. Did you mean 'least_squares'\?"),
        (("least_squares", {}), "least_squares needs clips to look at: give clips"),
        (("least_squares", {"clips": clips[:1]}), "least_squares needs a tensor of 2 or more clips"),
        (("least_squares", {"clips": clips.numpy()}), "clips is ndarray; least_squares needs a tensor"),
        (("least_squares", {"clips": clips[:, 1:]}), "this classifier takes log-mel of shape"),
        (("least_squares", {"clips": nan}), "clips hold values that are not finite"),
        (("least_squares", {"clips": clips, "ridge": 0}), "ridge is 0; give a number above 0"),
        (("least_squares", {"clips": clips, "ridge": float("nan")}), "ridge is nan; give a number above 0"),
        (("least_squares", {"clips": clips, "ridge": True}), "ridge is True; give a number above 0"),
    ]
    for (how, options), sentence in cases:
        with pytest.raises(CoppiceError, match=sentence):
            compensate(pruned, classifier, plan, how, **options)
    with pytest.raises(CoppiceError, match=r"is not what this plan makes of the original: 'conv2.weight' has shape"):
        compensate(pruned, classifier, other, "merge")
    with pytest.raises(CoppiceError, match="one is a classifier and one is not"):
        compensate(pruned.network, classifier, plan, "merge")


class ByHand(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv1d(1, 4, 3), nn.Conv1d(4, 2, 3)

    def forward(self, x):
        return F.conv1d(torch.relu(self.first(x)), self.second.weight, self.second.bias)


def test_a_layer_that_does_not_run_through_its_own_forward_is_merged_but_not_refitted():
    network, x = ByHand(), torch.randn(5, 1, 9)
    plan = plan_of(first=(4, (0, 3)))
    small = prune(network, plan, example=x[:1])
    compensate(small, network, plan, "merge", example=x[:1])
    with pytest.raises(CoppiceError, match=r"'second.weight' reads cut channels but cannot be refitted: its layer"):
        compensate(small, network, plan, "least_squares", clips=x)


def test_a_layer_that_is_too_wide_is_refused_before_anything_is_computed(monkeypatch):
    monkeypatch.setattr(refitting, "MOST_COLUMNS", 1)
    network, x = relu_net(), pictures(4)
    plan = plan_of(**{"0": (6, (0, 2))})
    with pytest.raises(CoppiceError, match="it has 18 columns, more than the 1 whose products are kept"):
        compensate(prune(network, plan, example=x[:1]), network, plan, "least_squares", clips=x)


@pytest.mark.parametrize("kind", ["plain", "transposed", "without bias"])
def test_a_wide_convolution_gets_its_lost_channels_from_those_that_stay(kind, monkeypatch):
    monkeypatch.setattr(refitting, "MOST_COLUMNS", 20)
    monkeypatch.setattr(refitted_layer, "MOST_COLUMNS", 20)
    network, x = lively_(relu_net(bias=kind != "without bias")), pictures(40)
    if kind == "transposed":
        network[3] = nn.ConvTranspose2d(6, 5, 3).double()
    plan = plan_of(**{"0": (6, (0, 2, 3, 5)), "3": (5, (0, 1, 3))})
    small = prune(network, plan, example=x[:1])
    repaired = compensate(small, network, plan, "least_squares", clips=x, ridge=1e-13)
    with torch.no_grad():
        kept, lost = (network[:3](x)[:, some].movedim(1, -1).flatten(0, -2).numpy() for some in ([0, 2, 3, 5], [1, 4]))
        ones = np.column_stack([kept, np.ones(len(kept))])
        mix = np.linalg.lstsq(ones, lost, rcond=None)[0]
        weight = network[3].weight.transpose(0, 1) if kind == "transposed" else network[3].weight
        weight = weight[[0, 1, 3]].numpy()
        expected = weight[:, [0, 2, 3, 5]] + np.einsum("or...,sr->os...", weight[:, [1, 4]], mix[:-1])
        constant = np.einsum("orij,r->o", weight[:, [1, 4]], mix[-1])
        found = repaired[3].weight.transpose(0, 1) if kind == "transposed" else repaired[3].weight
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-8)
        if kind == "without bias":
            np.testing.assert_allclose((small[4].running_mean - repaired[4].running_mean).numpy(), constant, atol=1e-8)
        else:
            np.testing.assert_allclose((repaired[3].bias - small[3].bias).numpy(), constant, atol=1e-8)


def test_a_layer_that_works_along_time_is_left_as_it_is():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.along, self.last = nn.Conv1d(1, 6, 3), nn.Linear(10, 7), nn.Conv1d(6, 2, 3)

        def forward(self, x):
            return self.last(torch.relu(self.along(torch.relu(self.conv(x)))))

    network, x = Net(), torch.randn(20, 1, 12)
    plan = plan_of(conv=(6, (0, 2, 5)))
    small = prune(network, plan, example=x[:1])
    repaired = compensate(small, network, plan, "least_squares", clips=x)
    assert torch.equal(repaired.along.weight, small.along.weight)
    assert not torch.equal(repaired.last.weight, small.last.weight)


def test_a_packed_sequence_is_refused_by_layer():
    from torch.nn.utils.rnn import pack_padded_sequence

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.rnn, self.head = nn.Conv1d(1, 6, 3), nn.LSTM(6, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, x):
            x = torch.relu(self.conv(x)).transpose(1, 2)
            x = x if len(x) == 1 else pack_padded_sequence(x, [x.shape[1]] * len(x), batch_first=True)
            return self.head(self.rnn(x)[1][0][0])

    network, x = Net(), torch.randn(20, 1, 12)
    plan = plan_of(conv=(6, (0, 2, 5)))
    small = prune(network, plan, example=x[:1])
    with pytest.raises(CoppiceError, match="layer 'rnn' reads a PackedSequence; only tensors can be looked into"):
        compensate(small, network, plan, "least_squares", clips=x)


def test_values_that_overflow_are_refused_by_layer():
    network, x = relu_net(norm=False), pictures(4)
    plan = plan_of(**{"0": (6, (0, 2))})
    small = prune(network, plan, example=x[:1])
    with torch.no_grad():
        network[3].bias[0] = torch.inf
    with pytest.raises(CoppiceError, match="layer '3' reads or makes values that are not finite"):
        compensate(small, network, plan, "least_squares", clips=x)


def test_a_hundred_clips_bring_a_published_network_back(shared_data):
    from coppice.audio.decode import decode

    whole = cp.load(shared_data / "surrey2022" / "unpruned" / "float32.tflite", front_end="surrey2022")
    files = sorted((shared_data / "tau2022_sample" / "audio").glob("*.wav"))
    log_mel = torch.stack([cp.log_mel(decode(file, sample_rate=44100), whole.front_end) for file in files])
    seen, held = log_mel[::2], log_mel[1::2]
    plan = cp.plan(whole, "l1", ratios={"conv1": 0.25})
    pruned = cp.prune(whole, plan)
    repaired = compensate(pruned, whole, plan, "least_squares", clips=seen)

    def agreement(other):
        return float((other.posteriors(held).argmax(1) == whole.posteriors(held).argmax(1)).double().mean())

    assert agreement(pruned) < 0.4 and agreement(repaired) > 0.8
