import pytest
import torch

from coppice.complexity.profile import profile
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


@pytest.mark.parametrize("how", ["merge", "least_squares"])
def test_a_prune_step_compensates_with_training_clips_alone(material, monkeypatch, how):
    classifier, data = material
    looked = []
    whole = Prepared.log_mel

    def watched(self, part, rows=None):
        looked.extend(self._rows(part) if rows is None else rows)
        return whole(self, part, rows)

    monkeypatch.setattr(Prepared, "log_mel", watched)
    said = {"criterion": "l1", "keep": {"conv2": 4}}
    bare, plan = do_step(classifier, Step.model_validate({"prune": said}), seed=0, data=data)
    step = Step.model_validate({"prune": {**said, "compensate": how}})
    small, same = do_step(classifier, step, seed=0, data=data)
    assert same == plan and [done["verb"] for done in small.lineage] == ["prune", "compensate"]
    assert not torch.equal(small.network.conv3.weight, bare.network.conv3.weight)
    assert set(looked) <= set(data.split.train) and bool(looked) == (how == "least_squares")


def test_a_recipe_names_a_compensation_that_exists(tiny):
    change = "systems.repaired=[{prune: {criterion: l1, keep: {conv2: 4}, compensate: %s}}]"
    assert load_recipe(tiny, changes=[change % "merge"]).systems["repaired"][0].prune.compensate == "merge"
    with pytest.raises(CoppiceError, match=r"systems.repaired.0.prune.compensate is 'merged': .*'merge'"):
        load_recipe(tiny, changes=[change % "merged"])


def test_a_prune_step_takes_a_budget(material):
    classifier, data = material
    before = profile(classifier, latency=False)
    said = {"criterion": "l1", "budget": {"macs": "50%", "params": before.params_total}, "round_to": 2, "minimum": 2}
    small, plan = do_step(classifier, Step.model_validate({"prune": said}), seed=0, data=data)
    assert profile(small, latency=False).macs <= before.macs // 2
    assert all(len(layer.keep) % 2 == 0 for layer in plan.layers)


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ("{flops: 50%}", "a budget has no bound 'flops'"),
        ("{macs: half}", "the budget's macs is 'half'; give a number"),
        ("{macs: 150%}", "give at most '100%'"),
        ("{}", "the budget has no bound"),
    ],
)
def test_a_budget_in_a_recipe_is_read_before_anything_runs(tiny, budget, said):
    with pytest.raises(CoppiceError) as refused:
        load_recipe(tiny, changes=[f"systems.small=[{{prune: {{criterion: l1, budget: {budget}}}}}]"])
    assert said in str(refused.value) and not str(refused.value).endswith(("..", "?."))
