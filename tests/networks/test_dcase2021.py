import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from coppice.complexity.macs import count_macs
from coppice.complexity.params import count_params
from coppice.core.errors import CoppiceError
from coppice.networks.dcase2021 import DCASE2021

# Parameters per layer as Keras prints them for the baseline, moving averages included (repository
# marmoi/dcase2021_task1a_baseline), and multiply-accumulates without biases at 40x500.
PUBLISHED_ROWS = {
    "conv1": 800,
    "bn1": 64,
    "conv2": 12_560,
    "bn2": 64,
    "conv3": 25_120,
    "bn3": 128,
    "dense1": 6_500,
    "dense2": 1_010,
}
PUBLISHED_MACS = {
    "conv1": 15_680_000,
    "conv2": 250_880_000,
    "conv3": 20_070_400,
    "dense1": 6_400,
    "dense2": 1_000,
}


def numpy_forward(network: DCASE2021, clip: np.ndarray) -> np.ndarray:
    """Compute the published architecture in float64 NumPy, one clip (bands, frames), without dropout."""
    state = {name: tensor.numpy().astype(np.float64) for name, tensor in network.state_dict().items()}

    def convolve(x: np.ndarray, name: str) -> np.ndarray:
        kernel = state[f"{name}.weight"]
        padded = np.pad(x, ((0, 0), (3, 3), (3, 3)))
        windows = sliding_window_view(padded, (7, 7), axis=(1, 2))
        return np.einsum("chwij,fcij->fhw", windows, kernel) + state[f"{name}.bias"][:, None, None]

    def normalise(x: np.ndarray, name: str) -> np.ndarray:
        mean, variance, gamma, beta = (
            state[f"{name}.{key}"][:, None, None] for key in ("running_mean", "running_var", "weight", "bias")
        )
        return gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta

    def pool(x: np.ndarray, height: int, width: int) -> np.ndarray:
        rows, columns = x.shape[1] // height, x.shape[2] // width
        cut = x[:, : rows * height, : columns * width]
        return cut.reshape(len(x), rows, height, columns, width).max(axis=(2, 4))

    x = np.maximum(normalise(convolve(clip[None], "conv1"), "bn1"), 0)
    x = pool(np.maximum(normalise(convolve(x, "conv2"), "bn2"), 0), 5, 5)
    x = np.maximum(normalise(convolve(x, "conv3"), "bn3"), 0)
    x = pool(x, 4, x.shape[2])
    x = np.maximum(state["dense1.weight"] @ x.ravel() + state["dense1.bias"], 0)
    return state["dense2.weight"] @ x + state["dense2.bias"]


def with_statistics(network: DCASE2021) -> DCASE2021:
    """Give batch normalisation something to do."""
    for name, tensor in network.state_dict().items():
        if name.startswith("bn") and tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape) + 0.5)
    return network.eval()


def test_the_counts_per_layer_are_the_published_ones():
    network = DCASE2021()
    rows = {
        name: sum(t.numel() for t in layer.state_dict().values() if t.is_floating_point())
        for name, layer in network.named_children()
        if name in PUBLISHED_ROWS
    }
    assert rows == PUBLISHED_ROWS
    counts = count_params(network, torch.zeros(1, 1, 40, 500))
    assert (counts.total, counts.trainable, counts.bn_folded) == (46_246, 46_118, 45_990)


def test_the_macs_per_layer_are_the_published_ones():
    macs = count_macs(DCASE2021(), torch.zeros(1, 1, 40, 500))
    assert macs.by_layer == PUBLISHED_MACS
    assert macs.total == 286_637_800


@pytest.mark.parametrize("bands, frames", [(40, 500), (40, 250), (40, 50), (40, 25), (40, 53), (64, 31), (20, 5)])
def test_logits_equal_a_float64_numpy_computation_at_any_size(bands, frames):
    network = with_statistics(DCASE2021(widths=(3, 2, 4), dense=5, classes=3, bands=bands, frames=frames))
    clips = torch.randn(2, 1, bands, frames)
    with torch.no_grad():
        ours, precise = network(clips).numpy(), network.double()(clips.double()).numpy()
    reference = np.stack([numpy_forward(network, clip[0].numpy().astype(np.float64)) for clip in clips])
    np.testing.assert_allclose(precise, reference, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(ours, reference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("frames, second_pool", [(500, (4, 100)), (250, (4, 50)), (51, (4, 10))])
def test_the_second_pool_is_as_long_as_the_clip(frames, second_pool):
    network = DCASE2021(frames=frames)
    assert network.pool2.kernel_size == 5 and network.pool3.kernel_size == second_pool
    assert network.dense1.in_features == 64


def test_the_parameters_do_not_depend_on_the_length_of_the_clip():
    sizes = {sum(p.numel() for p in DCASE2021(frames=frames).parameters()) for frames in (5, 51, 250, 500)}
    assert sizes == {46_118}


def test_normalisation_and_dropout_are_those_of_keras():
    network = DCASE2021()
    for norm in (network.bn1, network.bn2, network.bn3):
        assert (norm.eps, norm.momentum) == (1e-3, 0.01)
    assert network.dropout.p == 0.3


def test_initial_weights_are_glorot_and_keras_uniform_and_biases_zero():
    network = DCASE2021()
    for layer in (network.conv1, network.conv2, network.conv3):
        bound = np.sqrt(6 / (49 * (layer.in_channels + layer.out_channels)))
        assert 0.9 * bound < layer.weight.abs().max() <= bound
        assert not layer.bias.any()
    for layer in (network.dense1, network.dense2):
        assert 0.045 < layer.weight.abs().max() <= 0.05
        assert not layer.bias.any()


def test_config_builds_the_same_shapes_again():
    network = DCASE2021(widths=(5, 4, 3), dense=7, classes=4, bands=64, frames=31, dropout=0.1)
    again = DCASE2021(**network.config())
    assert again.config() == network.config()
    assert [t.shape for t in again.state_dict().values()] == [t.shape for t in network.state_dict().values()]


@pytest.mark.parametrize(
    "config, words",
    [
        ({"widths": (16, 16)}, "takes 3 numbers in widths"),
        ({"widths": 16}, "takes 3 numbers in widths"),
        ({"widths": (16, 0, 32)}, "conv2"),
        ({"widths": (16, 16.0, 32)}, "conv2"),
        ({"widths": (True, 16, 32)}, "conv1"),
        ({"widths": (16, 16, 10**9)}, "conv3"),
        ({"dense": 0}, "dense"),
        ({"classes": 1}, "1 classes"),
        ({"classes": "10"}, "'10' classes"),
        ({"classes": 2.5}, "2.5 classes"),
        ({"classes": 10**9}, "classes"),
        ({"bands": 19}, "19×500"),
        ({"bands": 40.0}, "40.0×500"),
        ({"frames": 4}, "40×4"),
        ({"frames": None}, "None"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"dropout": float("nan")}, "dropout is nan"),
        ({"dropout": "much"}, "dropout is 'much'"),
    ],
)
def test_an_impossible_size_is_refused_by_name(config, words):
    with pytest.raises(CoppiceError, match=words):
        DCASE2021(**config)
