import pytest
import torch

from coppice.core.errors import CoppiceError
from coppice.criteria.registry import criterion_names, needs_clips
from coppice.datasets.prepare import Prepared
from coppice.networks.classifier import Classifier
from coppice.networks.registry import build_network
from coppice.recipes.material import check_systems, open_material
from coppice.recipes.recipe import Step, load_recipe
from coppice.recipes.steps import do_step


@pytest.fixture
def material(tiny, cache, monkeypatch):
    monkeypatch.setenv("COPPICE_CACHE", str(cache))
    recipe = load_recipe(tiny)
    data = open_material(recipe)
    bands, frames = data.front_end.shape
    network = build_network("dcase2021", classes=10, bands=bands, frames=frames, widths=[4, 6, 8], dense=12)
    classifier = Classifier(network, data.front_end, data.dataset.labels, torch.zeros(bands) - 8, torch.ones(bands) * 4)
    return classifier, data


@pytest.mark.parametrize("name", [name for name in criterion_names() if needs_clips(name)])
def test_an_active_criterion_in_a_recipe_looks_at_training_clips_alone(material, monkeypatch, name):
    classifier, data = material
    looked = []
    whole = Prepared.log_mel

    def watched(self, part, rows=None):
        looked.extend(self._rows(part) if rows is None else rows)
        return whole(self, part, rows)

    monkeypatch.setattr(Prepared, "log_mel", watched)
    step = Step.model_validate({"prune": {"criterion": name, "keep": {"conv2": 4}}})
    small, plan = do_step(classifier, step, seed=0, data=data)
    assert len(plan.keep("conv2")) == 4 and small.network.conv2.out_channels == 4
    assert looked and set(looked) <= set(data.split.train)
    _, again = do_step(classifier, step, seed=0, data=data)
    assert again == plan


def test_a_passive_criterion_looks_at_no_clips(material):
    classifier, _ = material
    step = Step.model_validate({"prune": {"criterion": "l1", "keep": {"conv2": 4}}})
    assert do_step(classifier, step, seed=0, data=None)[1].criterion == "l1"


def test_a_recipe_with_an_active_criterion_is_checked_before_training(tiny, material):
    _, data = material
    steps = "[{prune: {criterion: taylor, keep: {conv2: %d}}}, {prune: {criterion: apoz, ratios: 0.5}}]"
    check_systems(load_recipe(tiny, changes=[f"systems.active={steps % 4}"]), data)
    with pytest.raises(CoppiceError, match=r"system 'active', step 1 \(prune\): cannot keep 7 filters of 'conv2'"):
        check_systems(load_recipe(tiny, changes=[f"systems.active={steps % 7}"]), data)
