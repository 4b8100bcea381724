from dataclasses import replace

import pytest
import torch

from coppice.networks.dcase2021 import DCASE2021
from coppice.training.settings import TrainingSettings
from made_sides import made_sides


@pytest.fixture
def network():
    torch.manual_seed(3)
    return DCASE2021(widths=(3, 3, 4), dense=6, classes=3, frames=25).eval()


@pytest.fixture(scope="module")
def sides():
    """Training and validation inputs with their targets."""
    return made_sides(18, 7)


@pytest.fixture
def settings():
    return TrainingSettings(epochs=3, batch_size=8, learning_rate=5e-3, patience=30, precision="float32", seed=1)


@pytest.fixture
def with_features(prepared):
    """Return the same clips with other features."""
    return lambda features: replace(prepared, _features=features)
