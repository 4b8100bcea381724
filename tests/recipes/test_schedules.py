"""Short forms in recipes: layer by layer, and many small steps to a target."""

import json
import shutil

import pytest
import torch

from coppice.core.errors import CoppiceError
from coppice.networks.checkpoint import load
from coppice.networks.classifier import Classifier
from coppice.networks.registry import build_network
from coppice.recipes.material import check_systems, open_material
from coppice.recipes.recipe import load_recipe
from coppice.recipes.step import Step
from coppice.recipes.steps import plain_steps

FIT = "finetune: {epochs: 1, precision: float32}"
PROGRESSIVE = f"[{{progressive: {{criterion: l1, ratios: 0.5, steps: 2, shape: cubic, {FIT}}}}}]"
ITERATIVE = (
    f"[{{iterative: {{criterion: l1, ratios: {{conv2: 0.5, conv3: 0.25}}, {FIT}}}}}, dense: {{units: {{dense1: 6}}}}]"
)


@pytest.fixture
def small(tiny, cache, forked, whole_run, tmp_path):
    """Do the tiny recipe with one system of one's own, in a folder where the network is trained already."""
    shutil.copytree(whole_run, tmp_path / "run")

    def run(system, *changes, **job):
        argv = ["run", tiny, "--out", "run", "--set", f"systems={{own: {system}}}", "--set", "quantize=null"]
        argv += [part for change in changes for part in ("--set", change)]
        answer = forked(*argv, cwd=tmp_path, env={"COPPICE_CACHE": str(cache)}, **job)
        lines = [line for line in answer["err"].splitlines() if ": accuracy " in line]
        return answer, [line.partition(":")[0] for line in lines if "not done again" not in line]

    run.folder = tmp_path / "run"
    return run


@pytest.mark.proof
def test_every_cut_and_fit_of_a_progressive_step_is_a_stage_of_the_run(small, results):
    answer, done = small(PROGRESSIVE)
    assert answer["code"] == 0, answer
    assert done == [
        "own · pruned, step 1 of 2",
        "own · fine-tuned, step 1 of 2",
        "own · pruned, step 2 of 2",
        "own · fine-tuned, step 2 of 2",
    ]
    names = ["1.1-prune", "1.1-finetune", "1.2-prune", "1.2-finetune"]
    assert sorted(place.name for place in (small.folder / "systems/own").iterdir()) == sorted(names)
    widths = []
    for name in names:
        config = load(small.folder / "systems/own" / name / "checkpoint.safetensors").network
        widths.append([layer.out_channels for layer in (config.conv1, config.conv2, config.conv3)])
    # of 4, 6 and 8 filters 43.75 % are gone after the first of two cubic steps, and half of them after the second
    assert widths == [[3, 4, 5], [3, 4, 5], [2, 3, 4], [2, 3, 4]]
    stages = json.loads((small.folder / "summary.json").read_text())["stages"]
    assert [stage["parent"] for stage in stages] == [None, "train", *(f"own/{name}" for name in names[:-1])]
    page = (small.folder / "report.html").read_text()
    assert all(title in page for title in done)
    before = results(small.folder)
    assert small(PROGRESSIVE)[1] == []
    assert results(small.folder) == before


@pytest.mark.proof
def test_a_changed_schedule_does_only_what_depends_on_the_change(small):
    one_layer = PROGRESSIVE.replace("0.5", "{conv2: 0.5}")
    assert len(small(one_layer)[1]) == 4
    assert small(one_layer.replace("epochs: 1", "epochs: 2"))[1] == [
        "own · fine-tuned, step 1 of 2",
        "own · pruned, step 2 of 2",
        "own · fine-tuned, step 2 of 2",
    ]
    assert small("[finetune: {epochs: 1}]")[1] == ["own · fine-tuned"]
    assert [place.name for place in (small.folder / "systems/own").iterdir()] == ["1-finetune"]


@pytest.mark.proof
def test_a_progressive_run_that_was_killed_goes_on_where_it_stopped(small, results, whole_run, tmp_path):
    small(PROGRESSIVE)
    whole = results(small.folder)
    small.folder.rename(tmp_path / "whole")
    shutil.copytree(whole_run, small.folder)
    for at, when in (("1.1-finetune", "after"), ("1.2-prune", "before"), ("1.2-finetune", "before")):
        answer, _ = small(PROGRESSIVE, at=f"systems/own/{at}", when=when, do="SIGKILL")
        assert answer["code"] == -9
    answer, done = small(PROGRESSIVE)
    assert answer["code"] == 0
    assert done == ["own · fine-tuned, step 2 of 2"]
    assert results(small.folder) == whole


@pytest.mark.proof
def test_iterative_is_short_for_a_list_of_cuts_and_fits(small):
    long = f"[{{prune: {{criterion: l1, ratios: {{conv2: 0.5}}}}}}, {{{FIT}}}, {{prune: {{criterion: l1, ratios: "
    answer, done = small(f"{ITERATIVE}, long: {long}{{conv3: 0.25}}}}}}, {{{FIT}}}]")
    assert answer["code"] == 0, answer
    assert done[:5] == [
        "own · pruned, step 1 of 2",
        "own · fine-tuned, step 1 of 2",
        "own · pruned, step 2 of 2",
        "own · fine-tuned, step 2 of 2",
        "own · dense layer shrunk",
    ]
    places = (small.folder / "systems" / name for name in ("own/1.2-finetune", "long/4-finetune"))
    short, long = (load(place / "checkpoint.safetensors").network.state_dict() for place in places)
    assert all(torch.equal(short[name], long[name]) for name in short)


def test_iterative_takes_counts_and_the_methods_own_sets():
    def written_out(**said):
        step = Step.model_validate({"iterative": {"criterion": "cosine_similarity", **said}})
        return [
            plain.step.prune.model_dump(exclude_defaults=True)
            for plain in plain_steps(step, 1, None)
            if plain.step.prune
        ]

    own = {"criterion": "cosine_similarity"}
    assert written_out(layers=["conv2", "conv3"]) == [own | {"layers": ["conv2"]}, own | {"layers": ["conv3"]}]
    assert written_out(keep={"conv2": 11}, ratios={"conv3": 0.5}) == [
        own | {"keep": {"conv2": 11}},
        own | {"ratios": {"conv3": 0.5}},
    ]
    assert written_out(layers=["conv1"], ratios=0.5) == [own | {"ratios": {"conv1": 0.5}}]


@pytest.mark.parametrize(
    ("steps", "sentence"),
    [
        ("[{progressive: {criterion: l1, ratios: 0.5}}]", "lacks the key 'systems.x.0.progressive.steps'."),
        ("[{progressive: {criterion: l1, steps: 3}}]", "progressive has one target: give ratios"),
        ("[{progressive: {criterion: l1, ratio: 0.5, steps: 3}}]", "progressive.ratio'. Did you mean 'ratios'?"),
        ("[{progressive: {criterion: l1, ratios: 0.5, steps: 1}}]", "steps is 1: input should be greater"),
        ("[{progressive: {criterion: l1, ratios: 0.5, steps: 2.5}}]", "steps is 2.5: give a whole number."),
        ("[{progressive: {criterion: l1, ratios: half, steps: 2}}]", "progressive.ratios is 'half': give a number."),
        ("[{progressive: {criterion: l1, ratios: 0.5, steps: 2, shape: round}}]", "shape is 'round': input should be"),
        ("[{progresive: {criterion: l1}}]", "has no key 'systems.x.0.progresive'. Did you mean 'progressive'?"),
        ("[{progressive: {criterion: l1, ratios: 0.5, budget: {macs: 50%}, steps: 2}}]", "has one target"),
        ("[{progressive: {criterion: l1, keep: {a: 1}, steps: 2}}]", "has one target"),
        ("[{progressive: {criterion: l1, budget: {mac: 50%}, steps: 2}}]", "Did you mean 'macs'?"),
        ("[{progressive: {criterion: l1, ratios: 0.5, round_to: 8, steps: 2}}]", "takes round_to with a budget only"),
        ("[{iterative: {criterion: l1, budget: {macs: 50%}, layers: [a]}}]", "leave out budget and scope: network"),
        ("[{iterative: {criterion: l1}}]", "iterative goes layer by layer; name them"),
        ("[{iterative: {criterion: l1, ratios: 0.5}}]", "iterative goes layer by layer; name them"),
        ("[{iterative: {criterion: l1, layers: [a, b, a]}}]", "iterative names 'a' twice"),
        ("[{iterative: {criterion: l1, keep: {a: 1}, ratios: {a: 0.5}}}]", "iterative names 'a' twice"),
        ("[{iterative: {criterion: l1, keep: {a: 1}, ratios: 0.5}}]", "needs layers: a list of names"),
        ("[{iterative: {criterion: l1, ratios: {a: 1}, finetune: {epoch: 1}}}]", "Did you mean 'epochs'?"),
        ("[{iterative: {criterion: l1, ratios: {a: 1}}, finetune: {}}]", "a step is exactly one of prune, dense,"),
    ],
)
def test_bad_short_forms_are_one_sentence(parsed, steps, sentence):
    found = parsed(f"name: mine\ndata: {{source: synthetic}}\nsystems: {{x: {steps}}}\n")
    assert isinstance(found, str)
    assert sentence in found
    assert "\n" not in found


@pytest.mark.proof
@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("progressive: {criterion: l1, ratios: 1.5, steps: 2}", "1 (progressive): ratio for 'all layers' is 1.5"),
        ("progressive: {criterion: l1, ratios: .nan, steps: 2}", "is not a number (NaN)"),
        ("progressive: {criterion: l1, ratios: {con2: 0.5}, steps: 2}", "Did you mean 'conv2'?"),
        ("progressive: {criterion: l2x, ratios: 0.5, steps: 2}", "there is no criterion 'l2x'."),
        ("progressive: {criterion: l1, ratios: 0.5, steps: 50}", "would remove no filter at all; give at most 4."),
        ("iterative: {criterion: l1, ratios: {conv2: 0.5, conv4: 0.5}}", "1 (iterative): there is no"),
        ("iterative: {criterion: l1, layers: [conv2]}", "has no set of its own"),
    ],
)
def test_short_forms_that_do_not_fit_the_network_are_refused_before_training(tiny, cache, monkeypatch, said, sentence):
    monkeypatch.setenv("COPPICE_CACHE", str(cache))
    recipe = load_recipe(tiny, changes=[f"systems={{own: [{{{said}}}]}}"])
    with pytest.raises(CoppiceError) as error:
        check_systems(recipe, open_material(recipe))
    assert str(error.value).startswith("system 'own', step 1 (")
    assert sentence in str(error.value)


def test_a_progressive_budget_is_of_the_network_before_the_first_step(small):
    step = f"[{{progressive: {{criterion: l1, budget: {{macs: 50%, params: 90%}}, minimum: 2, steps: 2, {FIT}}}}}]"
    answer, done = small(step)
    assert answer["code"] == 0, answer
    assert len(done) == 4
    place = small.folder / "systems/own"
    before = json.loads((small.folder / "train/metrics.json").read_text())["complexity"]
    after = [json.loads((place / f"1.{n}-prune/metrics.json").read_text())["complexity"] for n in (1, 2)]
    assert [cost["macs"] / before["macs"] <= share for cost, share in zip(after, (0.75, 0.5), strict=True)] == [
        True
    ] * 2
    assert after[0]["macs"] > 0.5 * before["macs"]
    assert after[1]["params_total"] <= 0.9 * before["params_total"]
    widths = [layer["filters"] for layer in after[1]["layers"]]
    assert min(widths) >= 2


def test_short_forms_hand_their_options_to_every_cut():
    said = {"criterion": "l1", "ratios": {"conv2": 0.5, "conv3": 0.5}, "compensate": "merge"}
    iterative = Step.model_validate({"iterative": said | {"round_to": 2}})
    cuts = [plain.step.prune for plain in plain_steps(iterative, 1, None) if plain.step.prune]
    assert [(cut.compensate, cut.round_to) for cut in cuts] == [("merge", 2)] * 2


def test_a_progressive_step_begins_from_what_the_steps_before_it_left():
    step = Step.model_validate({"progressive": {"criterion": "l1", "ratios": {"conv2": 0.5}, "steps": 2}})
    network = build_network("dcase2021", bands=40, frames=26, widths=[4, 10, 8], dense=12)
    before = Classifier(network, None, tuple("abcdefghij"), None, None)
    before.network.input_shape = (1, 40, 26)
    cuts = [plain for plain in plain_steps(step, 3, lambda: before) if plain.step.prune]
    assert [cut.name for cut in cuts] == ["3.1-prune", "3.2-prune"]
    assert [cut.step.prune.keep for cut in cuts] == [{"conv2": 8}, {"conv2": 5}]
