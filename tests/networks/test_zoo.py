"""What every architecture here has in common: sizes, checkpoints, surgery, and what torchinfo says of it."""

import math

import pytest
import torch
import torchinfo
from torch import nn

from coppice.audio.front_end import front_end
from coppice.complexity.macs import count_macs
from coppice.networks.checkpoint import load, save
from coppice.networks.classifier import Classifier
from coppice.networks.registry import build_network, network_identity, network_names
from coppice.pruning.planning.decide import plan
from coppice.pruning.surgery.prune import prune

# A narrow version of each, with one clip of the size that it takes.
NARROW = {
    "dcase2022": ({"widths": (4, 6, 5), "dense": 7}, (1, 1, 40, 51)),
    "surrey2022": ({"widths": (4, 6, 5), "dense": 7, "kernel": 5}, (1, 1, 40, 51)),
    "vggish_net": ({"widths": (3, 4, 5, 6, 7, 8), "dense": (9, 7), "bands": 32, "frames": 48}, (1, 1, 32, 48)),
    "soundnet": ({"widths": (4, 5, 6, 7, 8, 6, 5), "classes": 10, "samples": 60_000}, (1, 1, 60_000)),
    "cp_mobile": ({"base_channels": 8, "bands": 64, "frames": 33}, (1, 1, 64, 33)),
}


@pytest.fixture(params=NARROW)
def narrow(request):
    config, shape = NARROW[request.param]
    network = build_network(request.param, **config)
    for name, tensor in network.state_dict().items():
        if "running" in name:
            tensor.uniform_(0.5, 2)
    for parameter in network.parameters():
        parameter.data.add_(0.1 * torch.rand_like(parameter))
    return request.param, network.eval(), torch.randn(shape)


def test_every_architecture_is_known_by_name():
    assert set(NARROW) <= set(network_names())


def test_clips_go_in_and_logits_come_out(narrow):
    _, network, example = narrow
    with torch.no_grad():
        logits = network(example.expand(3, *example.shape[1:]))
    assert logits.shape == (3, 10)
    torch.testing.assert_close(logits[0], logits[2])


def test_the_config_builds_the_same_network_again(narrow):
    name, network, example = narrow
    assert network_identity(network) == {"name": name, "config": network.config()}
    again = build_network(name, **network.config()).eval()
    again.load_state_dict(network.state_dict())
    assert again.config() == network.config()
    assert torch.equal(again(example), network(example))


@pytest.mark.parametrize("criterion", ["l1", "cosine_similarity"])
def test_a_pruned_network_is_rebuilt_from_its_config_and_its_checkpoint(narrow, criterion, tmp_path):
    name, network, example = narrow
    ratios = 0.5 if criterion == "l1" else None
    decided = plan(network, criterion, ratios=ratios, example=example)
    pruned = prune(network, decided, example=example)
    assert sum(p.numel() for p in pruned.parameters()) < sum(p.numel() for p in network.parameters())
    assert type(build_network(name, **pruned.config())) is type(pruned)
    classifier = Classifier(pruned, None, tuple("abcdefghij"), None, None)
    again = load(save(classifier, tmp_path / "pruned.safetensors"))
    assert again.network.config() == pruned.config()
    assert torch.equal(again.network(example), pruned(example))


def test_a_plan_that_keeps_one_filter_of_each_layer_still_works(narrow):
    _, network, example = narrow
    decided = plan(network, "l1", ratios=0.999, example=example)
    smallest = prune(network, decided, example=example)
    assert smallest(example).shape == (1, 10)
    assert type(smallest)(**smallest.config()).config() == smallest.config()


@pytest.mark.parametrize("name, preset", [("dcase2022", "dcase2022"), ("surrey2022", "dcase2022")])
def test_a_classifier_with_the_published_front_end_survives_its_checkpoint(name, preset, tmp_path):
    ear = front_end(preset)
    network = build_network(name, bands=ear.n_mels, frames=ear.frames).eval()
    mine = Classifier(network, ear, tuple("abcdefghij"), torch.zeros(ear.n_mels), torch.ones(ear.n_mels))
    again = load(save(mine, tmp_path / "whole.safetensors"))
    clips = torch.randn(2, *ear.shape)
    assert torch.equal(again.logits(clips), mine.logits(clips))


def test_torchinfo_counts_the_same_but_for_biases_and_normalisation(narrow):
    _, network, example = narrow
    theirs = torchinfo.summary(network, input_data=example, verbose=0)
    assert theirs.total_params == sum(p.numel() for p in network.parameters())
    ours = count_macs(network, example)
    extra = 0  # torchinfo counts a bias at each position of a map, and the scale and shift of a normalisation once
    for name, module in network.named_modules():
        if isinstance(module, nn.modules.conv._ConvNd) and module.bias is not None:
            extra += math.prod(ours.output_shapes[name][1:])
        elif isinstance(module, nn.Linear):
            extra += module.out_features
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            extra += 2 * module.num_features
    assert theirs.total_mult_adds == ours.total + extra
