from dataclasses import replace

import pytest

from coppice.training.settings import TrainingSettings


@pytest.fixture
def settings():
    return TrainingSettings(epochs=3, batch_size=8, learning_rate=5e-3, patience=30, precision="float32", seed=1)


@pytest.fixture
def with_features(prepared):
    """Return the same clips with other features."""
    return lambda features: replace(prepared, _features=features)
