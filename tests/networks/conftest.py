import pytest
import torch

from coppice.audio.front_end import front_end
from coppice.networks.classifier import Classifier
from coppice.networks.dcase2021 import DCASE2021


@pytest.fixture
def classifier():
    """A small classifier of half-second clips whose batch normalisations have seen something."""
    network = DCASE2021(widths=(4, 3, 5), dense=6, classes=3, frames=25)
    for name, tensor in network.state_dict().items():
        if "running" in name:
            tensor.copy_(torch.rand(tensor.shape) + 0.5)
    return Classifier(
        network=network.eval(),
        front_end=front_end("dcase2021", duration_s=0.5),
        labels=("bus", "park", "tram"),
        band_mean=torch.randn(40) - 5,
        band_std=torch.rand(40) + 0.5,
        lineage=({"verb": "train", "seed": 0},),
        metrics={"accuracy": 0.5},
    )


@pytest.fixture
def log_mel():
    return torch.randn(7, 40, 25, generator=torch.Generator().manual_seed(1)) * 3 - 5
