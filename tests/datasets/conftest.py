from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from coppice.datasets.clips import make_dataset

RATE = 8000


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("COPPICE_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def write_noise():
    """Write a short noise file; return its path."""

    def write(file: Path, *, seconds: float = 0.5, seed: int = 0) -> Path:
        file.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(seed).standard_normal(round(seconds * RATE)) * 0.1
        soundfile.write(file, noise, RATE, subtype="PCM_24")
        return file

    return write


@pytest.fixture
def sounds(tmp_path, write_noise):
    """A folder of two classes with six half-second files each."""
    root = tmp_path / "sounds"
    for label in ("dog", "rain"):
        for number in range(6):
            write_noise(root / label / f"{number}.wav", seed=number + 10 * (label == "dog"))
    return root


@pytest.fixture
def table():
    """Make a dataset from columns, without files."""

    def make(**columns):
        rows = len(columns["label"])
        return make_dataset(
            "mine", pd.DataFrame({"file": [f"/s/{n}.wav" for n in range(rows)], **columns}), root=Path("/s")
        )

    return make
