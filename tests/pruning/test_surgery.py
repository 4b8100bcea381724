import copy
import random

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from coppice.audio.front_end import front_end
from coppice.core.errors import CoppiceError
from coppice.networks.classifier import Classifier
from coppice.networks.dcase2021 import DCASE2021
from coppice.pruning.plan import LayerPlan, PruningPlan
from coppice.pruning.planning.decide import plan
from coppice.pruning.surgery.dense import shrink_dense
from coppice.pruning.surgery.masking import mask
from coppice.pruning.surgery.prune import prune
from coppice.pruning.tracing.channels import trace

modest = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def random_plan(channels, seed, share):
    """Cut a random share of the units of every layer that no earlier layer has decided."""
    draw = random.Random(seed)
    entries, seen = [], set()
    for name in channels.layers:
        units = channels.units(name)
        free = sorted(set(units) - {0})
        if not free or seen & set(free):
            continue
        seen |= set(free)
        most = len(free) if 0 in units else len(free) - 1
        gone = set(draw.sample(free, min(most, round(share * len(free)))))
        keep = tuple(index for index, unit in enumerate(units) if unit not in gone)
        entries.append(LayerPlan(name, len(units), keep))
    return PruningPlan(None, tuple(entries))


def by_name(**keeps):
    return PruningPlan(None, tuple(LayerPlan(n, count, tuple(keep)) for n, (count, keep) in keeps.items()))


@modest
@given(seed=st.integers(0, 10_000), share=st.floats(0.1, 0.9))
def test_pruned_equals_masked_in_float64_on_every_kind_of_network(any_network, seed, share):
    network, example = any_network
    made = random_plan(trace(network, example), seed, share)
    small = prune(network, made, example=example).double().eval()
    masked = mask(network, made, example=example).double().eval()
    inputs = torch.randn(3, *example.shape[1:], dtype=torch.float64)
    with torch.no_grad():
        assert (small(inputs) - masked(inputs)).abs().max() <= 1e-10
    sizes = [sum(p.numel() for p in n.parameters()) for n in (small, network)]
    assert sizes[0] < sizes[1] or not any(layer.removed for layer in made.layers)


@modest
@given(seed=st.integers(0, 10_000), share=st.floats(0.1, 0.9))
def test_pruned_equals_a_plain_network_whose_consumers_see_zeros(plain, seed, share):
    made = random_plan(trace(plain, torch.zeros(1, 1, 8, 12)), seed, share)
    small = prune(plain, made, example=torch.zeros(1, 1, 8, 12)).double().eval()
    reference = copy.deepcopy(plain).double().eval()
    readers = {"conv1": "conv2", "conv2": "conv3", "conv3": "dense1", "dense1": "dense2"}
    for layer in made.layers:
        alive = torch.ones(layer.filters, dtype=torch.float64)
        alive[list(layer.removed)] = 0
        reader = getattr(reference, readers[layer.name])

        def zero_dead(_module, inputs, alive=alive):
            value = inputs[0]
            if value.ndim == 2:  # flattened channel by channel
                return value * alive.repeat_interleave(value.shape[1] // len(alive))
            return value * alive[:, None, None]

        reader.register_forward_pre_hook(zero_dead)
    inputs = torch.randn(2, 1, 8, 12, dtype=torch.float64)
    assert (small(inputs) - reference(inputs)).abs().max() <= 1e-10


@pytest.mark.parametrize(
    ("kind", "keeps", "dead"),
    [
        ("Residual", {"stem.0": (6, [1, 2, 5])}, {"first.0": [0, 3, 4], "third.0": [0, 3, 4]}),
        ("Concatenated", {"left.0": (3, [0, 2])}, {"last": [1]}),
        ("Concatenated", {"both.0": (7, [0, 3, 5])}, {"last": [1, 2, 4, 6]}),
        ("Depthwise", {"stem.0": (4, [0, 2])}, {"point": [2, 3, 6, 7]}),
        ("Grouped", {"grouped.0": (8, [0, 2, 4, 6])}, {"after.0": [1, 3, 5, 7]}),
        ("Grouped", {"stem.0": (12, [0, 2, 3, 5, 6, 8, 9, 11])}, {"grouped.0": [1, 4, 7, 10]}),
        ("SqueezeExcite", {"stem.0": (6, [0, 1, 4])}, {"squeeze": [2, 3, 5], "after.0": [2, 3, 5]}),
        (
            "FrequencyMajor",
            {"last.0": (6, [0, 2, 5])},
            {"project": [6 * b + c for b in range(4) for c in (1, 3, 4)]},
        ),
        ("OneDimensional", {"conv2": (8, [0, 3, 4, 7])}, {"up": [1, 2]}),
        ("Recurrent", {"last.0": (4, [1, 3])}, {"rnn": [*range(8), *range(16, 24)]}),
    ],
)
def test_pruned_equals_a_network_whose_consumers_see_zeros(networks, kind, keeps, dead):
    network, example = networks[kind]
    small = prune(network, by_name(**keeps), example=example).double().eval()
    reference = copy.deepcopy(network).double().eval()
    for name, channels in dead.items():

        def zero(_module, inputs, channels=channels):
            axis = -1 if isinstance(_module, nn.Linear | nn.RNNBase) else 1
            return inputs[0].index_fill(axis, torch.tensor(channels), 0.0)

        reference.get_submodule(name).register_forward_pre_hook(zero)
    inputs = torch.randn(2, *example.shape[1:], dtype=torch.float64)
    assert (small(inputs) - reference(inputs)).abs().max() <= 1e-10


def test_layers_say_their_new_sizes(any_network):
    network, example = any_network
    small = prune(network, random_plan(trace(network, example), 3, 0.5), example=example)
    for module in small.modules():
        if isinstance(module, nn.Conv2d | nn.Conv1d):
            assert module.weight.shape[:2] == (module.out_channels, module.in_channels // module.groups)
        elif isinstance(module, nn.Linear):
            assert module.weight.shape == (module.out_features, module.in_features)
        elif isinstance(module, nn.modules.batchnorm._NormBase) and module.weight is not None:
            assert module.num_features == len(module.weight)
        elif isinstance(module, nn.RNNBase):
            assert module.weight_ih_l0.shape[1] == module.input_size
            assert all(
                flat is getattr(module, n)
                for flat, n in zip(module._flat_weights, module._flat_weights_names, strict=True)
            )


def snapshot(network):
    return (
        {name: tensor.clone() for name, tensor in network.state_dict().items()},
        [module.training for module in network.modules()],
        [
            (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._forward_hooks_always_called))
            for m in network.modules()
        ],
        [parameter.requires_grad for parameter in network.parameters()],
        [id(parameter) for parameter in network.parameters()],
    )


def same_snapshot(left, right):
    return left[1:] == right[1:] and all(torch.equal(left[0][name], right[0][name]) for name in left[0])


@pytest.mark.parametrize("training", [True, False])
def test_the_callers_network_is_untouched_by_success_and_failure(plain, image, training):
    plain.train(training)
    plain.bn2.train(not training)
    plain.conv1.register_forward_hook(lambda *_: None)
    before = snapshot(plain)
    prune(plain, plan(plain, "l1", ratios=0.5, example=image), example=image)
    assert same_snapshot(before, snapshot(plain))
    for bad, example in (
        (by_name(conv1=(5, [0])), image),
        (by_name(conv1=(6, [0])), torch.zeros(1, 2, 8, 12)),
    ):
        with pytest.raises(CoppiceError):
            prune(plain, bad, example=example)
        with pytest.raises(CoppiceError):
            plan(plain, "l1", ratios=2, example=example)
        assert same_snapshot(before, snapshot(plain))


def test_flags_grads_hooks_types_and_formats_survive(plain, image):
    plain.conv1.requires_grad_(False)
    plain.train()
    plain.bn1.eval()
    seen = []
    plain.conv2.register_forward_hook(lambda *_: seen.append(1))
    wide = plain.to(memory_format=torch.channels_last).double()
    small = prune(wide, by_name(conv1=(6, [0, 3]), conv2=(5, [1, 2, 4])), example=image.double())
    assert [p.requires_grad for p in small.parameters()] == [p.requires_grad for p in wide.parameters()]
    assert [m.training for m in small.modules()] == [m.training for m in wide.modules()]
    assert small.conv2.weight.dtype == torch.float64
    assert small.conv3.weight.is_contiguous(memory_format=torch.channels_last)
    assert not small.conv3.weight.is_contiguous()
    assert len(small.conv2._forward_hooks) == 1 and type(small) is type(plain)


def test_the_cut_network_trains(plain, image):
    small = prune(plain, plan(plain, "l1", ratios=0.5, example=image), example=image).train()
    small(torch.randn(4, 1, 8, 12)).square().mean().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in small.parameters())


def test_a_classless_state_is_enough_for_tied_weights(image):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.one, self.two = nn.Conv2d(1, 6, 1), nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 1)
            self.two.weight = self.one.weight
            self.head = nn.Conv2d(6, 3, 1)

        def forward(self, x):
            return self.head(torch.relu(self.two(torch.relu(self.one(self.stem(x))))))

    small = prune(Tied(), by_name(stem=(6, [0, 4])), example=image)
    assert small.two.weight is small.one.weight
    assert small.two.in_channels == small.two.out_channels == 2


def test_keeping_every_filter_changes_nothing(plain, image):
    same = prune(plain, by_name(conv1=(6, range(6))), example=image)
    assert all(torch.equal(a, b) for a, b in zip(same.state_dict().values(), plain.state_dict().values(), strict=True))
    assert same is not plain


class HardCoded(nn.Module):
    def __init__(self, cut):
        super().__init__()
        self.other, self.conv, self.dense = nn.Conv2d(1, 3, 1), nn.Conv2d(3, 8, 1), nn.Linear(8 * 96, 3)
        self.cut = cut

    def forward(self, x):
        return self.dense(self.cut(self.conv(self.other(x))))


def test_a_hard_coded_view_fails_by_the_name_of_its_layer_and_leaves_the_network_alone(image):
    network = HardCoded(lambda x: x.view(-1, 768))
    before = snapshot(network)
    with pytest.raises(CoppiceError, match=r"after cutting 'conv' .*does not run.*x\.view\(-1, 2560\)"):
        prune(network, by_name(other=(3, [0, 2]), conv=(8, [0, 1, 5])), example=image)
    assert same_snapshot(before, snapshot(network))


def test_a_hard_coded_slice_is_caught_by_the_proof(image):
    network = HardCoded(lambda x: F.pad(x[:, 2:6], (0, 0, 0, 0, 2, 2)).flatten(1))
    with pytest.raises(CoppiceError, match="after cutting 'conv'"):
        prune(network, by_name(conv=(8, [0, 2, 3, 4, 7])), example=image)


def test_a_classifier_gives_a_classifier_and_brings_its_own_example():
    sound = front_end("dcase2021", duration_s=1.0)
    network = lively_dcase(sound.frames)
    ones = torch.ones(sound.n_mels)
    classifier = Classifier(network, sound, tuple("abcdefghij"), 0 * ones, ones)
    made = plan(classifier, "cosine_similarity")
    small = prune(classifier, made)
    assert isinstance(small, Classifier) and small.labels == classifier.labels
    assert small.network.conv2.out_channels == len(made.keep("conv2"))
    assert small.network.config()["widths"] == [len(made.keep(f"conv{i}")) for i in (1, 2, 3)]
    clips = torch.randn(2, sound.n_mels, sound.frames)
    torch.testing.assert_close(small.logits(clips), mask(classifier, made).logits(clips), rtol=1e-4, atol=1e-5)
    assert shrink_dense(small, {"dense1": 32}, seed=0).network.dense2.in_features == 32


def lively_dcase(frames):
    network = DCASE2021(frames=frames)
    for norm in (network.bn1, network.bn2, network.bn3):
        nn.init.normal_(norm.bias)
        nn.init.normal_(norm.running_mean)
    return network
