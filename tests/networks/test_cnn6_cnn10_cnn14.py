import numpy as np
import pytest
import torch
import torchinfo
from numpy.lib.stride_tricks import sliding_window_view

import coppice as cp
from coppice.audio.front_end import front_end
from coppice.complexity.macs import count_macs
from coppice.complexity.params import count_params
from coppice.core.errors import CoppiceError
from coppice.networks import checkpoint
from coppice.networks.classifier import Classifier
from coppice.networks.cnn6 import CNN6
from coppice.networks.cnn10 import CNN10
from coppice.networks.cnn14 import CNN14
from coppice.networks.registry import build_network, network_identity

CNN14_WIDTHS = [64, 64, 128, 128, 256, 256, 512, 512, 1024, 1024, 2048, 2048]
NARROW = [
    (CNN14, [3, 4, 5, 6, 7, 8, 3, 4, 5, 6, 7, 8]),
    (CNN10, [3, 4, 5, 6, 7, 8, 3, 4]),
    (CNN6, [3, 4, 5, 6]),
]
EACH = pytest.mark.parametrize("kind, widths", NARROW, ids=["cnn14", "cnn10", "cnn6"])


def on_meta(kind, **config):
    with torch.device("meta"):
        return kind(**config), torch.zeros(1, 1, 64, 1001)


def narrow(kind, widths, **config):
    """A small network whose batch normalisations have seen something."""
    network = kind(widths=widths, dense=9, classes=4, bands=config.pop("bands", 32), **config)
    for name, tensor in network.state_dict().items():
        if "bn" in name and tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape) + 0.5)
    return network.eval()


def numpy_forward(network, clip):
    """The description in the PANNs paper in float64 NumPy, one clip (bands, frames), without dropout."""
    state = {name: tensor.double().numpy() for name, tensor in network.state_dict().items()}

    def normalise(x, name, axis):
        shape = [-1 if i == axis else 1 for i in range(x.ndim)]
        mean, variance, gamma, beta = (
            state[f"{name}.{key}"].reshape(shape) for key in ("running_mean", "running_var", "weight", "bias")
        )
        return gamma * (x - mean) / np.sqrt(variance + 1e-5) + beta

    def convolve(x, name):
        kernel = state[f"{name}.weight"]
        side = kernel.shape[-1]
        padded = np.pad(x, ((0, 0), (side // 2, side // 2), (side // 2, side // 2)))
        return np.einsum("chwij,fcij->fhw", sliding_window_view(padded, (side, side), axis=(1, 2)), kernel)

    x = normalise(clip.T, "bn0", axis=1)[None]  # (1, frames, bands): time first
    block = 1
    while f"conv_block{block}.conv1.weight" in state:
        for conv in (1, 2):
            if f"conv_block{block}.conv{conv}.weight" in state:
                x = convolve(x, f"conv_block{block}.conv{conv}")
                x = np.maximum(normalise(x, f"conv_block{block}.bn{conv}", axis=0), 0)
        if block < 6:
            rows, columns = x.shape[1] // 2, x.shape[2] // 2
            x = x[:, : 2 * rows, : 2 * columns].reshape(len(x), rows, 2, columns, 2).mean(axis=(2, 4))
        block += 1
    x = x.mean(axis=2)
    x = x.max(axis=1) + x.mean(axis=1)
    x = np.maximum(state["fc1.weight"] @ x + state["fc1.bias"], 0)
    return state["fc_audioset.weight"] @ x + state["fc_audioset.bias"]


# Kong et al., "PANNs", TASLP 28:2880-2894, 2020, table XII.
@pytest.mark.parametrize("kind, parameters", [(CNN6, 4_837_455), (CNN10, 5_219_279), (CNN14, 80_753_615)])
def test_parameters_are_those_of_the_paper(kind, parameters):
    assert sum(p.numel() for p in on_meta(kind)[0].parameters()) == parameters


# E-PANNs, Singh et al., Inter-Noise 2023: a share of the filters of the last six convolutions is gone.
@pytest.mark.parametrize("share, parameters", [(0.25, 47_408_591), (0.5, 23_205_839), (0.75, 8_145_359)])
def test_e_panns_have_the_published_parameters(share, parameters):
    widths = CNN14_WIDTHS[:6] + [int(width * (1 - share)) for width in CNN14_WIDTHS[6:]]
    network, example = on_meta(CNN14, widths=widths)
    assert count_params(network, example).trainable == parameters


def test_macs_of_cnn14_and_e_panns_are_the_known_ones():
    for widths, convolutions, dense in (
        (CNN14_WIDTHS, 20_036_653_056, 5_273_600),
        (CNN14_WIDTHS[:6] + [width // 2 for width in CNN14_WIDTHS[6:]], 12_411_408_384, 3_176_448),
    ):
        by_layer = count_macs(*on_meta(CNN14, widths=widths)).by_layer
        head = by_layer.pop("fc1") + by_layer.pop("fc_audioset")
        assert (sum(by_layer.values()), head) == (convolutions, dense)


@pytest.mark.parametrize("kind, kernel, per_block", [(CNN10, 3, 2), (CNN6, 5, 1)])
def test_macs_of_the_smaller_ones_follow_the_formula(kind, kernel, per_block):
    macs, inside = 512 * 512 + 512 * 527, 1
    for block, width in enumerate((64, 128, 256, 512)):
        positions = (64 >> block) * (1001 >> block)
        macs += kernel**2 * width * positions * (inside + (per_block - 1) * width)
        inside = width
    assert count_macs(*on_meta(kind)).total == macs


@EACH
def test_parameters_and_macs_equal_torchinfo(kind, widths):
    network = kind(widths=widths, dense=9, classes=4)
    summary = torchinfo.summary(network, (1, 1, 64, 101), verbose=0)
    # torchinfo also counts batch normalisation and the biases of the dense layers.
    extra = sum(
        layer.macs if isinstance(layer.module, torch.nn.BatchNorm2d) else layer.module.bias.numel()
        for layer in summary.summary_list
        if isinstance(layer.module, (torch.nn.BatchNorm2d, torch.nn.Linear))
    )
    example = torch.zeros(1, 1, 64, 101)
    assert summary.total_mult_adds - extra == count_macs(network, example).total
    assert summary.total_params == count_params(network, example).trainable


@EACH
@pytest.mark.parametrize("frames", [32, 45])
def test_logits_equal_a_float64_numpy_computation(kind, widths, frames):
    network = narrow(kind, widths)
    clips = 3 * torch.randn(2, 1, 32, frames) - 20
    reference = np.stack([numpy_forward(network, clip[0].double().numpy()) for clip in clips])
    with torch.no_grad():
        ours, precise = network(clips).numpy(), network.double()(clips.double()).numpy()
    np.testing.assert_allclose(precise, reference, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(ours, reference, rtol=1e-4, atol=1e-4)


def test_tensors_are_named_as_in_the_published_state_dicts():
    statistics = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names = {f"bn0.{key}" for key in statistics}
    names |= {f"{layer}.{key}" for layer in ("fc1", "fc_audioset") for key in ("weight", "bias")}
    for block in range(1, 7):
        for conv in (1, 2):
            names |= {f"conv_block{block}.bn{conv}.{key}" for key in statistics}
            names.add(f"conv_block{block}.conv{conv}.weight")
    assert set(on_meta(CNN14)[0].state_dict()) == names


@EACH
def test_config_builds_the_same_shapes_again(kind, widths):
    network = kind(widths=widths, dense=5, classes=3, bands=40, dropout=0.1, dense_dropout=0.0)
    identity = network_identity(network)
    again = build_network(identity["name"], **identity["config"])
    assert again.config() == network.config()
    assert [t.shape for t in again.state_dict().values()] == [t.shape for t in network.state_dict().values()]


@EACH
def test_surgery_equals_the_masked_network_and_config_follows(kind, widths):
    network, example = narrow(kind, widths), torch.randn(1, 1, 32, 40)
    smaller = cp.prune(network, cp.plan(network, "l1", ratios=0.5, example=example), example=example)
    assert smaller.config()["widths"] == [width - width // 2 for width in widths]
    rebuilt = kind(**smaller.config()).eval()
    rebuilt.load_state_dict(smaller.state_dict())
    with torch.no_grad():
        assert torch.equal(rebuilt(example), smaller(example))


@EACH
def test_a_checkpoint_gives_the_same_logits_bit_for_bit(kind, widths, tmp_path):
    classifier = Classifier(
        network=narrow(kind, widths, bands=64),
        front_end=front_end("panns32k", duration_s=0.5),
        labels=("a", "b", "c", "d"),
        band_mean=torch.zeros(64),
        band_std=torch.ones(64),
        score="sigmoid",
    )
    log_mel = torch.randn(3, 64, 51)
    again = checkpoint.load(checkpoint.save(classifier, tmp_path / "net.safetensors"))
    assert torch.equal(again.logits(log_mel), classifier.logits(log_mel))


@pytest.mark.parametrize(
    "kind, widths, least", [(*row, least) for row, least in zip(NARROW, (32, 16, 16), strict=True)]
)
def test_a_clip_too_short_for_the_pools_is_refused_in_one_sentence(kind, widths, least):
    network = narrow(kind, widths)
    assert network(torch.zeros(1, 1, 32, least)).shape == (1, 4)
    with pytest.raises(CoppiceError, match=f"at least {least} frames, not {least - 1}"):
        network(torch.zeros(1, 1, 32, least - 1))
    with pytest.raises(CoppiceError, match="takes 32 mel bands, not 40"):
        network(torch.zeros(1, 1, 40, 64))


@pytest.mark.parametrize(
    "kind, config, words",
    [
        (CNN14, {"widths": [64] * 11}, "12 numbers in widths"),
        (CNN14, {"widths": 64}, "12 numbers"),
        (CNN14, {"widths": [4] * 11 + [0]}, "conv_block6.conv2"),
        (CNN14, {"widths": [4.0] + [4] * 11}, "conv_block1.conv1"),
        (CNN14, {"bands": 31}, "31 mel bands; give 32"),
        (CNN10, {"widths": [64] * 12}, "8 numbers"),
        (CNN10, {"bands": 15}, "15 mel bands; give 16"),
        (CNN6, {"widths": [64] * 8}, "4 numbers"),
        (CNN6, {"dense": 0}, "fc1"),
        (CNN6, {"classes": 1}, "1 classes"),
        (CNN6, {"dropout": 1.0}, "1.0"),
        (CNN6, {"dense_dropout": -0.1}, "-0.1"),
    ],
)
def test_an_impossible_size_is_refused_by_name(kind, config, words):
    with pytest.raises(CoppiceError, match=words), torch.device("meta"):
        kind(**config)
