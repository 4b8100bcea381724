import pytest
import torch
from torch import nn

from coppice.core.errors import CoppiceError
from coppice.networks import registry
from coppice.networks.checkpoint import load, save
from coppice.networks.dcase2021 import DCASE2021


@pytest.fixture
def own_registry(monkeypatch):
    monkeypatch.setattr(registry, "_NETWORKS", dict(registry._NETWORKS))


class Tiny(nn.Module):
    def __init__(self, *, classes: int = 3, bands: int = 40, frames: int = 25, hidden: int = 4):
        super().__init__()
        self.sizes = {"bands": bands, "frames": frames}
        self.body, self.head = nn.Linear(bands * frames, hidden), nn.Linear(hidden, classes)
        self.register_buffer("ramp", torch.linspace(0, 1, bands * frames), persistent=False)

    def config(self):
        return {**self.sizes, "classes": self.head.out_features, "hidden": self.body.out_features}

    def forward(self, x):
        return self.head(torch.relu(self.body(x.flatten(1) * self.ramp)))


def test_the_baseline_is_known_by_name():
    assert isinstance(registry.build_network("dcase2021", frames=50), DCASE2021)


def test_an_unknown_network_is_refused_with_the_nearest_name():
    with pytest.raises(CoppiceError, match=r"no network 'dcase21'. Did you mean 'dcase2021'\?"):
        registry.build_network("dcase21")


def test_a_name_that_is_no_text_is_refused_plainly():
    with pytest.raises(CoppiceError, match="no network 2021"):
        registry.build_network(2021)


def test_an_unknown_argument_is_refused_with_the_nearest_name():
    with pytest.raises(CoppiceError, match=r"takes no 'width'. Did you mean 'widths'\?"):
        registry.build_network("dcase2021", width=[1, 2, 3])


def test_a_registered_network_of_ones_own_loads_without_its_class(own_registry, classifier, log_mel, tmp_path):
    registry.network("tiny")(Tiny)
    assert "tiny" in registry.network_names()
    mine = classifier.__class__(**{**vars(classifier), "network": Tiny(hidden=5)})
    again = load(save(mine, tmp_path / "tiny.safetensors"))
    assert isinstance(again.network, Tiny) and again.network.body.out_features == 5
    assert torch.equal(again.logits(log_mel), mine.logits(log_mel))


def test_a_subclass_of_a_registered_network_is_not_taken_for_it():
    class Louder(DCASE2021):
        def forward(self, features):
            return 2 * super().forward(features)

    assert "name" not in registry.network_identity(Louder())
