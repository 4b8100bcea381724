from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from coppice.audio.front_end import front_end
from coppice.datasets.clips import make_dataset
from coppice.datasets.prepare import Prepared
from coppice.datasets.splits import Split
from coppice.training.settings import TrainingSettings

LABELS = ("bus", "park", "tram")


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """Thirty half-second clips of three classes that differ in one band each; no sound files."""
    random = np.random.default_rng(0)
    targets = np.arange(30) % 3
    features = random.standard_normal((30, 40, 25)).astype(np.float32) - 5
    features[np.arange(30), 8 * targets + 4] += 2
    root = tmp_path_factory.mktemp("sounds")
    table = pd.DataFrame(
        {
            "file": [str(root / f"{number}.wav") for number in range(30)],
            "label": [LABELS[target] for target in targets],
        }
    )
    rows = np.arange(30)
    return Prepared(
        dataset=make_dataset("bands", table, root=root),
        split=Split(train=rows[:18], validation=rows[18:24], test=rows[24:], how="by hand"),
        front_end=front_end("dcase2021", duration_s=0.5),
        problems=(),
        cut=0,
        padded=0,
        _features=features,
        _stored=rows,
    )


@pytest.fixture
def settings():
    return TrainingSettings(epochs=3, batch_size=8, learning_rate=5e-3, patience=30, precision="float32", seed=1)


@pytest.fixture
def with_features(prepared):
    """Return the same clips with other features."""
    return lambda features: replace(prepared, _features=features)
