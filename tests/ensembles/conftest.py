import numpy as np
import pytest
import torch

from coppice.audio.front_end import front_end
from coppice.networks.classifier import Classifier
from coppice.networks.dcase2021 import DCASE2021
from coppice.pruning.planning.index_files import plan_from_indices
from coppice.pruning.surgery.prune import prune

LABELS = ("bus", "park", "tram")
EAR = front_end("dcase2021", duration_s=0.5)
NAMES = ("C1", "C2", "C3", "C12", "C23", "C123")
MACS = (4_121_480, 4_102_760, 5_252_760, 3_148_040, 4_014_360, 3_059_640)
CLASSES = {
    "airport": 2960, "bus": 2970, "shopping_mall": 2970, "metro": 2970, "street_pedestrian": 2970,
    "public_square": 2970, "street_traffic": 2970, "tram": 2960, "metro_station": 2970, "park": 2970,
}  # fmt: skip


def new_classifier(seed=0, *, labels=LABELS, widths=(3, 3, 4), front_end=EAR, **bands):
    torch.manual_seed(seed)
    network = DCASE2021(widths=widths, dense=6, classes=len(labels), frames=EAR.frames)
    for layer in (network.bn1, network.bn2, network.bn3):  # running statistics that are not those of a new network
        layer.running_mean.normal_()
        layer.running_var.uniform_(0.5, 2)
    bands = {"band_mean": torch.zeros(40), "band_std": torch.ones(40), **bands}
    return Classifier(network.eval(), front_end, labels, **bands)


@pytest.fixture
def classifier():
    return new_classifier


@pytest.fixture
def kin():
    """Three classifiers pruned from one parent in conv3, each by itself."""
    parent = new_classifier(widths=(3, 3, 6))
    sets = {"first": [0, 1, 2], "last": [3, 4, 5], "odd": [1, 3, 5]}
    return {name: prune(parent, plan_from_indices(parent, {"conv3": keep})) for name, keep in sets.items()}


@pytest.fixture
def strangers():
    return {name: new_classifier(seed) for seed, name in enumerate(("a", "b", "c"))}


@pytest.fixture
def log_mel():
    return torch.randn(5, 40, EAR.frames, generator=torch.Generator().manual_seed(3)) * 3


@pytest.fixture
def drawn():
    """Posteriors of some members on clips of three classes, better than chance, and the right classes."""

    def draw(members=4, clips=120, seed=0, classes=3):
        random = np.random.default_rng(seed)
        targets = np.arange(clips) % classes
        logits = random.standard_normal((members, clips, classes)) + random.standard_normal((1, clips, classes))
        logits[:, np.arange(clips), targets] += np.linspace(0.5, 1.5, members)[:, None]
        values = np.exp(logits)
        return values / values.sum(axis=2, keepdims=True), targets

    return draw


@pytest.fixture(scope="session")
def published(shared_data):
    """The published posteriors of a number format, and the right classes."""

    def read(kind):
        folder = shared_data / "surrey2022"
        if not folder.is_dir():
            pytest.skip(f"no published posteriors at {folder}")
        stacked = np.stack([np.load(folder / name / f"posteriors_{kind}.npy") for name in NAMES]).astype(np.float64)
        return stacked, np.repeat(np.arange(10), list(CLASSES.values()))

    return read
