import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from coppice.complexity.macs import count_macs
from coppice.complexity.params import count_params
from coppice.core.errors import CoppiceError
from coppice.networks.loading import load
from coppice.networks.surrey2022 import Surrey2022

EXAMPLE = torch.zeros(1, 1, 40, 51)

# Widths of the released files (DCASE 2022 Task 1, Singh, systems 1 to 4): parameters with batch normalisation folded,
# in Keras' count, and multiply-accumulates without biases.
RELEASED = {
    "unpruned": ((16, 16, 32), 14_630, 14_886, 5_369_960),
    "C1": ((12, 16, 32), 14_014, 14_254, 4_121_480),
    "C2": ((16, 12, 32), 12_898, 13_138, 4_102_760),
    "C3": ((16, 16, 22), 11_180, 11_396, 5_252_760),
    "C12": ((12, 12, 32), 12_426, 12_650, 3_148_040),
    "C23": ((16, 12, 22), 9_808, 10_008, 4_014_360),
    "C123": ((12, 12, 22), 9_336, 9_520, 3_059_640),
}
# Side of the kernels: parameters with batch normalisation folded, millions of multiply-accumulates.
KERNELS = {1: (8_358, 0.60), 3: (14_630, 5.37), 5: (27_174, 14.90), 7: (45_990, 29.20), 9: (71_078, 48.27)}
KERNELS[11] = (102_438, 72.10)


def numpy_forward(network: Surrey2022, clip: np.ndarray) -> np.ndarray:
    """Compute the published architecture in float64 NumPy, one clip (bands, frames), without dropout."""
    state = {name: tensor.numpy().astype(np.float64) for name, tensor in network.state_dict().items()}

    def convolve(x: np.ndarray, number: int) -> np.ndarray:
        kernel, norm = state[f"conv{number}.weight"], f"bn{number}"
        side = kernel.shape[-1]
        padded = np.pad(x, ((0, 0), (side // 2, side // 2), (side // 2, side // 2)))
        windows = sliding_window_view(padded, (side, side), axis=(1, 2))
        maps = np.einsum("chwij,fcij->fhw", windows, kernel) + state[f"conv{number}.bias"][:, None, None]
        mean, variance, gamma, beta = (
            state[f"{norm}.{key}"][:, None, None] for key in ("running_mean", "running_var", "weight", "bias")
        )
        return gamma * (maps - mean) / np.sqrt(variance + 1e-3) + beta

    def pool(x: np.ndarray, height: int, width: int) -> np.ndarray:
        rows, columns = x.shape[1] // height, x.shape[2] // width
        cut = x[:, : rows * height, : columns * width]
        together = np.mean if network.pooling == "average" else np.max
        return together(cut.reshape(len(x), rows, height, columns, width), axis=(2, 4))

    def relu(x: np.ndarray) -> np.ndarray:
        return np.maximum(x, 0)

    after = {"published": (np.tanh, relu, np.tanh, np.tanh), "tanh": (np.tanh,) * 4, "relu": (relu,) * 4}
    first, second, third, fourth = after[network.activation]
    x = first(convolve(clip[None], 1))
    x = pool(second(convolve(x, 2)), 5, 5)
    x = pool(third(convolve(x, 3)), 4, x.shape[2])
    x = fourth(state["dense1.weight"] @ x.ravel() + state["dense1.bias"])
    return state["dense2.weight"] @ x + state["dense2.bias"]


@pytest.mark.parametrize("member", RELEASED)
def test_every_released_network_counts_as_published(member):
    widths, folded, total, macs = RELEASED[member]
    network = Surrey2022(widths=widths)
    counts = count_params(network, EXAMPLE)
    assert (counts.bn_folded, counts.total) == (folded, total)
    assert count_macs(network, EXAMPLE).total == macs


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_side_of_the_kernels_costs_what_is_published(kernel):
    network = Surrey2022(kernel=kernel)
    assert count_params(network, EXAMPLE).bn_folded == KERNELS[kernel][0]
    assert round(count_macs(network, EXAMPLE).total / 1e6, 2) == KERNELS[kernel][1]
    assert network.config()["kernel"] == kernel


@pytest.mark.parametrize(
    "pooling, activation", [("average", "published"), ("max", "tanh"), ("average", "relu"), ("max", "published")]
)
@pytest.mark.parametrize("kernel, bands, frames", [(3, 40, 51), (3, 40, 53), (5, 64, 31), (1, 20, 5)])
def test_logits_equal_a_float64_numpy_computation(kernel, bands, frames, pooling, activation):
    shape = {"kernel": kernel, "bands": bands, "frames": frames, "pooling": pooling, "activation": activation}
    network = Surrey2022(widths=(3, 2, 4), dense=5, classes=3, **shape).eval()
    for name, tensor in network.state_dict().items():
        if name.startswith("bn") and tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    clips = torch.randn(2, 1, bands, frames)
    with torch.no_grad():
        ours, precise = network(clips).numpy(), network.double()(clips.double()).numpy()
    reference = np.stack([numpy_forward(network, clip[0].numpy().astype(np.float64)) for clip in clips])
    np.testing.assert_allclose(precise, reference, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(ours, reference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "config, words",
    [
        ({"widths": 16}, "surrey2022 takes 3 numbers in widths but got 16"),
        ({"widths": "abc"}, "surrey2022 takes 3 numbers"),
        ({"widths": (16, 16, 10**9)}, "1000000000 units in conv3"),
        ({"dense": True}, "True units in dense"),
        ({"kernel": 4}, "kernel of 4; give an odd number from 1 to 11"),
        ({"kernel": 13}, "kernel of 13"),
        ({"kernel": 3.0}, "kernel of 3.0"),
        ({"classes": "ten"}, "'ten' classes"),
        ({"bands": None}, "None×51"),
        ({"frames": 4}, "40×4"),
        ({"dropout": float("nan")}, "dropout is nan"),
    ],
)
def test_an_impossible_size_is_refused_by_name(config, words):
    with pytest.raises(CoppiceError, match=words):
        Surrey2022(**config)


@pytest.mark.parametrize("member", RELEASED)
def test_it_computes_what_the_released_file_computes(shared_data, member):
    path = shared_data / "surrey2022" / member / "float32.tflite"
    if not path.is_file():
        pytest.skip(f"no released network at {path}")
    released = load(path).network
    network = Surrey2022(widths=RELEASED[member][0]).eval()
    for name in ("conv1", "conv2", "conv3", "dense1", "dense2"):
        network.get_submodule(name).load_state_dict(released.get_submodule(name).state_dict())
    for norm in (network.bn1, network.bn2, network.bn3):  # the file has it folded into the convolutions
        norm.running_var.fill_(1 - norm.eps)
    clips = torch.rand(4, 1, 40, 51) * 20 - 20
    with torch.no_grad():
        torch.testing.assert_close(network(clips), released(clips), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("what, given", [("pooling", "mean"), ("activation", "gelu")])
def test_a_pool_or_activation_that_is_not_known_is_refused(what, given):
    with pytest.raises(CoppiceError, match=f"surrey2022 has no {what} '{given}'"):
        Surrey2022(**{what: given})


def test_pools_and_activations_are_kept_with_the_network():
    network = Surrey2022(pooling="max", activation="relu")
    assert Surrey2022(**network.config()).config() == network.config()
    assert isinstance(network.pool3, torch.nn.MaxPool2d)
