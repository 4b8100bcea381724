"""What a recipe says of fits: keys, digests that stay, teachers, augmentation."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from coppice.core.errors import CoppiceError
from coppice.core.files import digest
from coppice.networks.checkpoint import load, save
from coppice.networks.classifier import Classifier
from coppice.networks.registry import build_network
from coppice.recipes.fitting import Distil, Finetune, Fit, Train
from coppice.recipes.material import check_systems, open_material
from coppice.recipes.recipe import load_recipe
from coppice.recipes.run import run_single
from coppice.recipes.teachers import Turn, open_teacher, outside, teacher_files
from coppice.training.augment.settings import Augment, FreqMixStyle, Gain
from coppice.training.stop import Stop

TURN = Turn(fold=1, seed=0)
# Digests taken before there were schedules, augmentation and teachers in recipes.
BEFORE = {
    "esc10": ("c38aefd172112fa4", "41b696432c5e9053"),
    "demo": ("ed4a356974d25138", "96d37dba2cea1fa6"),
    "dcase2021-report": ("011bcbc134828171", "9d4734d07979e742"),
}


@pytest.mark.parametrize("name", BEFORE)
def test_stages_of_older_recipes_keep_their_digests(name):
    recipe = load_recipe(name)
    said = recipe.training.settings(seed=0).to_dict()
    network = recipe.network.model_dump()
    trained = {"coppice": "0", "stage": "train", "data": "x", "network": network, "settings": said}
    step = next(iter(recipe.systems.values()))[1]
    from_outside = outside(step.finetune, unpruned="x", turn=TURN)
    tuned = {"before": "x", "step": step.identity(), "data": "x", "seed": 0, **from_outside}
    assert (digest(trained), digest(tuned)) == BEFORE[name]


STOP = {"stop": {"gain_per_tmac": 0.1}}


def test_a_stop_that_is_not_set_is_in_no_recipe_that_is_written():
    base, stopping = (load_recipe("demo", changes=more) for more in ([], ["training.stop.gain_per_tmac=0.1"]))
    assert yaml.safe_load(stopping.to_yaml())["training"]["stop"] == {"gain_per_tmac": 0.1, "window": 20}
    assert stopping.training.settings(seed=0).stop == Stop(0.1, window=20)
    assert "stop:" not in base.to_yaml()


def test_a_key_that_is_used_is_in_the_digest():
    plain = Finetune().identity()
    for changes in ({"ema": 0.9}, {"augment": {"gain": {}}}, {"distil": {}}, {"device": "a"}, {"soup": 2}, STOP):
        assert Finetune.model_validate(changes).identity() != plain
    assert Finetune(ema=0.0, distil=None).identity() == plain


def test_keys_become_settings():
    said = {
        "optimizer": "adamw",
        "weight_decay": "1e-4",
        "schedule": "cosine",
        "warmup_epochs": 2,
        "augment": {"gain": {}, "freq_mixstyle": {"alpha": 0.1}},
    }
    found = Train.model_validate(said).settings(seed=7)
    assert (found.optimizer, found.weight_decay, found.schedule) == ("adamw", 1e-4, "cosine")
    assert (found.warmup_epochs, found.seed) == (2.0, 7)
    assert found.augment == Augment(gain=Gain(), freq_mixstyle=FreqMixStyle(alpha=0.1))


NAMES = st.text("ab1-_. /:#'\"é{[", min_size=1, max_size=6)
FITS = st.fixed_dictionaries(
    {},
    optional={
        "epochs": st.integers(1, 500),
        "learning_rate": st.floats(1e-6, 1),
        "optimizer": st.sampled_from(["adam", "adamw"]),
        "weight_decay": st.floats(0, 1),
        "schedule": st.sampled_from(["constant", "cosine"]),
        "warmup_epochs": st.floats(0, 50),
        "accumulate": st.integers(1, 8),
        "ema": st.floats(0, 0.9999),
        "soup": st.integers(1, 9),
        "device": NAMES,
        "augment": st.fixed_dictionaries({}, optional={"gain": st.just({}), "time_roll": st.just({"seconds": 0.3})}),
        "teacher": st.lists(NAMES, min_size=1, max_size=3),
        "stop": st.fixed_dictionaries({"gain_per_tmac": st.floats(0, 9)}, optional={"window": st.integers(3, 50)}),
    },
)


@settings(max_examples=30, deadline=None)
@given(said=FITS)
def test_a_fit_written_out_in_yaml_reads_as_itself_and_has_its_digest(said):
    fit = Finetune.model_validate(said)
    again = Finetune.model_validate(yaml.safe_load(yaml.safe_dump(fit.model_dump(mode="json"), allow_unicode=True)))
    assert again == fit and digest(again.identity()) == digest(fit.identity())
    assert again.settings(seed=3) == fit.settings(seed=3)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"teacher": "unpruned"}, Distil()),
        ({"distil": {}}, Distil()),
        ({"teacher": ["a.safetensors", "b.safetensors"]}, Distil(teacher=["a.safetensors", "b.safetensors"])),
        ({"teacher": {"weight": 0.9, "temperature": 4}}, Distil(weight=0.9, temperature=4.0)),
        ({"distil": None}, None),
    ],
)
def test_a_teacher_is_short_for_distilling_from_it(said, expected):
    assert Finetune.model_validate(said).distil == expected


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("training.ema=2", "training: ema is 2.0; give 0 for none, or a decay below 1"),
        ("training.soup=0", "training: soup is 0; give a whole number from 1"),
        ("training.schedule=cosin", "training.schedule is 'cosin': input should be 'constant' or 'cosine'"),
        ("training.augment.tim_roll={}", "has no key 'training.augment.tim_roll'. Did you mean 'time_roll'?"),
        ("training.augment.gain.decibel=3", "has no key 'training.augment.gain.decibel'. Did you mean 'decibels'?"),
        ("training.augment.gain.decibels=-1", "gain.decibels is -1.0; give a positive number"),
        ("training.augment.gain.decibels=loud", "training.augment.gain.decibels is 'loud': give a number"),
        ("training.augment.device_ir={}", "lacks the key 'training.augment.device_ir.folder'"),
        ("training.augment.spec_augment.freq_masks=1.5", "freq_masks is 1.5: give a whole number"),
        ("training.stop={}", "lacks the key 'training.stop.gain_per_tmac'"),
        ("training.stop={gain_per_tmac: -1}", "training.stop: stop.gain_per_tmac is -1.0; give nats of validation"),
        (
            "training.stop={gain_per_tmacs: 1}",
            "has no key 'training.stop.gain_per_tmacs'. Did you mean 'gain_per_tmac'",
        ),
        ("training.stop={gain_per_tmac: 1, window: 2}", "stop.window is 2; give a whole number of epochs from 3"),
        ("training.stop=0.1", "training.stop is 0.1: give keys with values below it"),
        (
            "systems.x=[{finetune: {stop: {gain_per_tmac: 1}, choose_from: 20}}]",
            "choose_from is 20 but stop.window is 20",
        ),
        ("training.teacher=unpruned", "the unpruned network cannot teach itself"),
        ("systems.x=[{finetune: {teacher: a, distil: {}}}]", "the teacher is given twice"),
        ("systems.x=[{finetune: {distil: {weigt: 1}}}]", "'systems.x.0.finetune.distil.weigt'. Did you mean 'weight'?"),
        ("systems.x=[{finetune: {distil: {weight: 0}}}]", "distil.weight is 0: input should be greater than 0"),
        ("systems.x=[{finetune: {teacher: []}}]", "give at least one"),
    ],
)
def test_mistakes_are_refused_with_the_key(change, sentence):
    with pytest.raises(CoppiceError) as refused:
        load_recipe("demo", changes=[change])
    assert sentence in str(refused.value)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The recipe of this folder's tests on fewer, shorter clips, and its clips."""
    place = tmp_path_factory.mktemp("small")
    path = place / "small.yaml"
    path.write_text(
        "name: small\ndata: {source: synthetic, synthetic: {clips_per_class: 5, duration_s: 0.5}}\n"
        "front_end: {preset: dcase2021, duration_s: 0.5}\nnetwork: {name: dcase2021, widths: [2, 2, 2], dense: 4}\n"
        "training: {epochs: 1}\nsystems: {s: [{finetune: {epochs: 1}}]}\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COPPICE_CACHE", str(place / "cache"))
        return path, open_material(load_recipe(path))


def checkpoint(path, labels, ears, **more):
    network = build_network("dcase2021", widths=[2, 2, 2], dense=4, classes=len(labels), frames=ears.shape[1])
    save(Classifier(network.eval(), ears, labels, torch.zeros(40), torch.ones(40), **more), path)
    return path


def test_a_teacher_or_an_augmentation_that_cannot_be_is_refused_before_training(small, tmp_path):
    path, data = small
    other = checkpoint(tmp_path / "other.safetensors", ("cat", "dog"), data.front_end)
    tags = checkpoint(tmp_path / "tags.safetensors", data.dataset.labels, data.front_end, score="sigmoid")
    (tmp_path / "empty").mkdir()
    for change, sentence in (
        (f"training.teacher={other}", "training: teacher and student tell other classes apart: 'birdsong'"),
        (f"training.teacher={tags}", "training: a teacher with 10 classes tags clips (sigmoid scores)"),
        (
            "systems.s=[{finetune: {teacher: nowhere.pt}}]",
            "system 's', step 1 (finetune): teacher 'nowhere.pt': cannot",
        ),
        (f"training.augment.device_ir.folder={tmp_path / 'empty'}", "holds no impulse responses"),
        ("training.augment.spec_augment.freq_bands=41", "freq_bands is 41 but the clips have 40 bands"),
        ("systems.s=[{finetune: {device: z}}]", "no train clip was recorded with device 'z'"),
    ):
        with pytest.raises(CoppiceError) as refused:
            check_systems(load_recipe(path, changes=[change]), data)
        assert sentence in str(refused.value), change
    check_systems(load_recipe(path, changes=["systems.s=[{finetune: {teacher: unpruned}}]"]), data)


def test_files_outside_are_in_a_stages_digest_by_their_contents(small, tmp_path):
    teacher = checkpoint(tmp_path / "t.safetensors", small[1].dataset.labels, small[1].front_end)
    soundfile.write(tmp_path / "ir.wav", np.ones(4), 8000)
    said = {"teacher": ["unpruned", str(teacher)], "augment": {"device_ir": {"folder": str(tmp_path), "copies": 1}}}
    fit = Finetune.model_validate(said)
    first = outside(fit, unpruned="abc", turn=TURN)
    assert first["teachers"][0] == "abc" and len(first["teachers"][1]) == 64
    soundfile.write(tmp_path / "ir.wav", np.zeros(4) + 0.5, 8000)
    second = outside(fit, unpruned="abc", turn=TURN)
    assert second["impulse_responses"] != first["impulse_responses"] and second["teachers"] == first["teachers"]
    assert outside(Fit(), unpruned="abc", turn=TURN) == {}
    with pytest.raises(CoppiceError, match="there is no unpruned network here"):
        open_teacher(Distil(), unpruned=None, turn=TURN)


def test_each_fold_learns_from_its_own_teachers(small, tmp_path):
    for fold, seed in ((1, 0), (1, 1), (2, 0)):
        place = tmp_path / f"[a] fold{fold}-seed{seed}"
        place.mkdir()
        checkpoint(place / "t.safetensors", small[1].dataset.labels, small[1].front_end)
    said = Distil(teacher=[f"{tmp_path}/[a] fold{{fold}}-seed*/t.safetensors"])
    (name,) = said.teacher
    assert [Path(file).parent.name for file in teacher_files(name, Turn(1, 7))] == [
        "[a] fold1-seed0",
        "[a] fold1-seed1",
    ]
    assert [Path(file).parent.name for file in teacher_files(name.replace("*", "{seed}"), Turn(2, 0))] == [
        "[a] fold2-seed0"
    ]
    counts = {fold: len(open_teacher(said, unpruned=None, turn=Turn(fold, 0)).classifiers) for fold in (1, 2)}
    assert counts == {1: 2, 2: 1}
    assert len(open_teacher(said, unpruned=None, turn=None).classifiers) == 1  # for a look before the first run
    fit = Fit(distil=said)
    seen = {fold: outside(fit, unpruned="", turn=Turn(fold, 0))["teachers"] for fold in (1, 2)}
    assert [len(files) for files in seen.values()] == [2, 1]
    with pytest.raises(CoppiceError, match=r"no file is called .*fold3-seed\*/t\.safetensors\."):
        open_teacher(said, unpruned=None, turn=Turn(3, 0))
    with pytest.raises(CoppiceError, match=r"this run names none; set split\.test_fold or folds"):
        open_teacher(said, unpruned=None, turn=Turn(None, 0))


FITTED = """{epochs: 2, precision: float32, schedule: cosine, warmup_epochs: 1, ema: 0.5, soup: 2,
  distil: {weight: 0.9}, augment: {gain: {}, time_roll: {}, spec_augment: {}, freq_mixstyle: {}}}"""
SYSTEM = f"[{{prune: {{criterion: l1, ratios: {{conv2: 0.5}}}}}}, {{finetune: {FITTED}}}]"


def test_a_pruned_network_learns_from_the_unpruned_one_of_its_run(small, tmp_path, monkeypatch):
    monkeypatch.setattr("coppice.recipes.run.measure_latency", lambda networks, example, repeats: {})
    path, data = small
    changes = [f"systems={{own: {SYSTEM}}}", "quantize=null", "training.optimizer=adamw"]
    run_single(load_recipe(path, changes=changes), tmp_path / "run", data=data)
    tuned = tmp_path / "run/systems/own/2-finetune"
    last = load(tuned / "checkpoint.safetensors").lineage[-1]
    assert last["teacher"] == {"weight": 0.9, "temperature": 2.0, "verbs": ["train"]}
    assert last["settings"]["ema"] == 0.5 and len(last["soup"]) == 2
    assert sorted(file.name for file in tuned.iterdir() if file.suffix != ".safetensors") == [
        "history.csv",
        "metrics.json",
        "predictions.csv",
        "stage.json",
    ]
    written = yaml.safe_load((tmp_path / "run/recipe.yaml").read_text())
    assert written["systems"]["own"][1]["finetune"]["distil"]["teacher"] == ["unpruned"]
    assert load_recipe(tmp_path / "run/recipe.yaml") == load_recipe(path, changes=changes)
    before = (tuned / "stage.json").read_bytes()
    run_single(load_recipe(path, changes=changes), tmp_path / "run", data=data)
    assert (tuned / "stage.json").read_bytes() == before
    stronger = [changes[0].replace("0.9", "0.8"), *changes[1:]]
    run_single(load_recipe(path, changes=stronger), tmp_path / "run", data=data)
    assert load(tuned / "checkpoint.safetensors").lineage[-1]["teacher"]["weight"] == 0.8


@pytest.mark.proof
def test_a_run_with_all_of_it_equals_one_that_was_killed_in_each_fit(tiny, forked, cache, results, tmp_path):
    changes = ["--set", f"systems={{own: {SYSTEM}}}", "--set", "quantize=null", "--set", "training.optimizer=adamw"]
    env = {"COPPICE_CACHE": str(cache)}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for place in (whole, killed):
        place.mkdir()
    answer = forked("run", tiny, "--out", "run", *changes, cwd=whole, env=env)
    assert answer["code"] == 0, answer
    for at, when in (("epoch", "before"), ("train", "after"), ("epoch", "before")):
        answer = forked("run", tiny, "--out", "run", *changes, cwd=killed, env=env, at=at, when=when, do="SIGKILL")
        assert answer["code"] == -9, (at, answer)
    assert forked("run", tiny, "--out", "run", *changes, cwd=killed, env=env)["code"] == 0
    assert results(killed / "run") == results(whole / "run")
    assert not list((whole / "run").rglob("teacher.npy"))
