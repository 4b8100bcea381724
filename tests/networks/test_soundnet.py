import numpy as np
import pytest
import torch

from coppice.complexity.folding import folding_pairs
from coppice.core.errors import CoppiceError
from coppice.networks.soundnet import SoundNet, least_samples


def numpy_forward(network: SoundNet, clip: np.ndarray) -> np.ndarray:
    """Compute the published layers and our head in float64 NumPy, one clip (samples,)."""
    state = {name: tensor.numpy().astype(np.float64) for name, tensor in network.state_dict().items()}
    x = clip[None]
    plans = [(64, 16, 8), (32, 8, 8), (16, 4, 1), (8, 2, 1), (4, 1, 4), (4, 1, 1), (4, 1, 1)]
    for number, (kernel, padding, pool) in enumerate(plans, start=1):
        starts = range(0, x.shape[1] - kernel + 1, 2)
        windows = np.stack([x[:, start : start + kernel] for start in starts], axis=1)
        maps = np.einsum("ctk,fck->ft", windows, state[f"conv{number}.weight"])
        maps = np.pad(maps + state[f"conv{number}.bias"][:, None], ((0, 0), (padding, padding)))
        mean, variance, gamma, beta = (
            state[f"bn{number}.{key}"][:, None] for key in ("running_mean", "running_var", "weight", "bias")
        )
        x = np.maximum(gamma * (maps - mean) / np.sqrt(variance + 1e-3) + beta, 0)
        steps = x.shape[1] // pool
        x = x[:, : steps * pool].reshape(len(x), steps, pool).max(axis=2)
    return state["dense.weight"] @ x.mean(axis=1) + state["dense.bias"]


def convolution_params(network: SoundNet) -> int:
    return sum(p.numel() for name, p in network.named_parameters() if name.startswith("conv"))


def test_the_convolutions_count_as_published():
    assert convolution_params(SoundNet()) == 2_870_256
    pruned = SoundNet(widths=(16, 32, 41, 56, 88, 235, 59))
    assert convolution_params(pruned) == 215_187
    assert sum(pruned.config()["widths"]) == 527 and sum(SoundNet().config()["widths"]) == 2032


def test_logits_equal_a_float64_numpy_computation():
    network = SoundNet(widths=(3, 2, 4, 3, 2, 3, 4), classes=5, samples=60_001).eval()
    for name, tensor in network.state_dict().items():
        if name.startswith("bn") and tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    clips = torch.randn(2, 1, 60_001)
    with torch.no_grad():
        ours, precise = network(clips).numpy(), network.double()(clips.double()).numpy()
    reference = np.stack([numpy_forward(network, clip[0].numpy().astype(np.float64)) for clip in clips])
    np.testing.assert_allclose(precise, reference, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(ours, reference, rtol=1e-4, atol=1e-5)


def test_the_shortest_clip_that_is_taken_is_the_shortest_that_works():
    network = SoundNet(widths=(1,) * 7, samples=least_samples()).eval()
    assert network(torch.zeros(1, 1, least_samples())).isfinite().all()
    with pytest.raises(RuntimeError):
        network(torch.zeros(1, 1, least_samples() - 1))


def test_a_clip_of_another_length_keeps_the_weights():
    network = SoundNet(widths=(2,) * 7, samples=48_000)
    longer = SoundNet(widths=(2,) * 7, samples=100_000)
    longer.load_state_dict(network.state_dict())
    assert longer.input_shape == (1, 100_000)


def test_normalisation_behind_the_zeros_is_not_folded_away():
    assert folding_pairs(SoundNet(widths=(2,) * 7, samples=48_000), torch.zeros(1, 1, 48_000)) == {}


@pytest.mark.parametrize(
    "config, words",
    [
        ({"widths": (16, 32)}, "soundnet takes 7 numbers in widths"),
        ({"widths": (16, 32, 64, 128, 256, 512, 0)}, "0 units in conv7"),
        ({"classes": 1}, "1 classes"),
        ({"samples": 45_533}, "clips of 45533 samples: its strides need at least 45534"),
        ({"samples": 48_000.0}, "clips of 48000.0 samples"),
        ({"samples": "long"}, "clips of 'long' samples"),
    ],
)
def test_an_impossible_size_is_refused_by_name(config, words):
    with pytest.raises(CoppiceError, match=words):
        SoundNet(**config)
