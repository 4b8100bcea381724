import time

import pytest
import yaml

from coppice.core.errors import CoppiceError
from coppice.recipes.recipe import Recipe, load_recipe, shipped_recipes

BASE = """\
name: mine
data: {source: synthetic}
systems:
  cosine:
    - prune: {criterion: cosine_similarity}
    - finetune:
"""


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("trianing.epochs=3", "has no key 'trianing'. Did you mean 'training'?"),
        ("training.epocs=3", "has no key 'training.epocs'. Did you mean 'epochs'?"),
        ("data.sorce=x", "has no key 'data.sorce'. Did you mean 'source'?"),
        ("data.synthetic.clip_per_class=3", "'data.synthetic.clip_per_class'. Did you mean 'clips_per_class'?"),
        ("split.test_fol=3", "has no key 'split.test_fol'. Did you mean 'test_fold'?"),
        ("systems.x=[{prun: {criterion: l1}}]", "has no key 'systems.x.0.prun'. Did you mean 'prune'?"),
        ("systems.x=[{prune: {criterin: l1}}]", "has no key 'systems.x.0.prune.criterin'. Did you mean 'criterion'?"),
        ("systems.x=[{finetune: {epocs: 3}}]", "has no key 'systems.x.0.finetune.epocs'. Did you mean 'epochs'?"),
        ("training.epochs=many", "training.epochs is 'many': give a whole number."),
        ("training.epochs=1.5", "training.epochs is 1.5: give a whole number."),
        ("training.epochs=0", "training.epochs is 0: input should be greater than or equal to 1."),
        ("training.epochs=", "training.epochs is empty: give a whole number."),
        ("training.epochs=yes", "training.epochs is True: give a number: YAML reads yes, no, on, off, true and"),
        ("training.augment.gain.decibels=on", "training.augment.gain.decibels is True: give a number: YAML reads yes"),
        ("seeds=[0, true]", "seeds is [0, True]: give a number: YAML reads yes"),
        ("systems.x=[{prune: {criterion: l1, ratios: {conv2: yes}}}]", "systems.x.0.prune.ratios: give a number: YAML"),
        ("training.stop=yes", "training.stop is True: give keys with values below it."),
        ("training.learning_rate=fast", "training.learning_rate is 'fast': give a number."),
        ("training.learning_rate=.nan", "training.learning_rate is nan: input should be less than 10."),
        ("training.precision=float16", "is 'float16': input should be 'auto', 'float32' or 'bfloat16'."),
        ("training=5", "training is 5: give keys with values below it."),
        ("training=null", "training is empty: give keys with values below it."),
        ("data.bad_clips=ignore", "data.bad_clips is 'ignore': input should be 'refuse' or 'skip'."),
        ("seeds=3", "seeds is 3: give a list."),
        ("seeds=[]", "seeds is []: give at least one."),
        ("seeds=[1, 1]", "seeds [1, 1] holds a seed twice."),
        ("name=a/b", "name is 'a/b': use at most 64 letters, digits"),
        ("name=..", "name is '..': use at most 64"),
        ("name=" + "n" * 300, "use at most 64 letters"),
        ("systems.a/b=[finetune]", "systems.a/b is 'a/b': use at most 64"),
        ("systems.train=[finetune]", "a system cannot be called 'train'."),
        ("systems.x=3", "systems.x is 3: give a list."),
        ("systems.x=[]", "system 'x' has no steps"),
        ("systems.x=[{}]", "a step is exactly one of prune, dense, finetune, iterative, progressive and reset."),
        ("systems.x=[{prune: {criterion: l1}, finetune: {}}]", "a step is exactly one of prune, dense, finetune"),
        ("systems.x=[{prune: {criterion: l1, ratios: {conv2: half}}}]", "prune.ratios.conv2 is 'half': give a number."),
        ("systems.x=[{prune: {criterion: l1, ratios: half}}]", "prune.ratios is 'half': give a number."),
        ("systems.x=[{prune: {criterion: l1, keep: {conv2: 2.5}}}]", "prune.keep.conv2 is 2.5: give a whole number."),
        ("systems.x=[{finetune: {fraction: 0}}]", "fraction is 0: input should be greater than 0."),
        ("systems.x=[{finetune: {fraction: 1.5}}]", "fraction is 1.5: input should be less than or equal to 1."),
        ("headline=nope", "headline 'nope' is not one of the systems."),
        ("quantize=int4", "quantize is 'int4': input should be 'float16', 'bfloat16', 'dynamic_int8' or 'int8'."),
        ("training.epochs", "--set 'training.epochs' is not KEY=VALUE"),
        ("=3", "--set '=3' is not KEY=VALUE"),
        ("training.epochs=[1", "'[1' is not a YAML value."),
        ("name.first=x", "--set 'name.first=x': 'name' holds a value, not keys."),
        ("systems.cosine.0.prune.criterion=l1", "'cosine' holds a value, not keys."),
    ],
)
def test_a_wrong_key_or_value_is_one_sentence(parsed, change, sentence):
    found = parsed(BASE, change)
    assert isinstance(found, str)
    assert sentence in found
    assert "\n" not in found
    assert "to correct after this" not in found


def test_further_mistakes_are_counted(parsed):
    found = parsed(BASE, "training.epochs=many", "training.patience=some")
    assert found.endswith("(1 more to correct after this.)")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "it should be a mapping that begins with 'name:'."),
        (b"- a\n- b\n", "it should be a mapping"),
        (bytes(range(256)), "it is not valid YAML"),
        (b"name: \x00\n", "it is not valid YAML"),
        (b"name: caf\xe9\n", "it is not valid YAML"),
        (b"name: [x\n", "it is not valid YAML"),
        (b"name: !!python/object/apply:os.system ['exit 1']\n", "it is not valid YAML"),
        (b"name: a\ntraining: {epochs: 3}\ntraining: {patience: 2}\n", "the key 'training' stands twice"),
        (b"a: " + b"[" * 3000, "it is not valid YAML"),
        (b"a: " + b"[" * 100 + b"]" * 100, "nested more than 20 deep"),
        (b"name: " + b"9" * 5000, "it is not valid YAML"),
        (b"name: x\n" + b"#" * 1_000_001, "it is larger than 1.00 MB."),
        (b"name: x\ndata: {source: y}\n3: 4\n", "yaml: 3: keys should be strings."),
        (b"title: no name\ndata: {source: x}\n", "lacks the key 'name'."),
    ],
)
def test_what_is_no_recipe_is_refused_plainly(parsed, content, sentence):
    found = parsed(content)
    assert isinstance(found, str)
    assert sentence in found
    assert "\n" not in found
    assert len(found) < 600


@pytest.mark.parametrize("key", ["title", "seeds", "network", "front_end", "data"])
def test_aliases_that_stand_for_billions_of_values_are_refused_at_once(parsed, key):
    bomb = "network: {z: &a [x, x, x, x, x, x, x, x, x, x]}\n"
    for before, after in zip("abcdefghi", "bcdefghij", strict=True):
        bomb += f"{after}: &{after} [{', '.join(['*' + before] * 10)}]\n"
    start = time.monotonic()
    found = parsed(f"name: x\n{bomb.replace('network', 'first')}{key}: {{k: *j}}\n")
    assert "stands for more than 10000 values" in found
    assert time.monotonic() - start < 2


def test_a_value_that_holds_itself_is_refused(parsed):
    assert "nested more than 20 deep" in parsed(BASE + "network: &x {a: *x}\n")


@pytest.mark.parametrize(
    ("change", "key", "value"),
    [
        ("training.learning_rate=1e-3", ("training", "learning_rate"), 1e-3),
        ("training.learning_rate=.002", ("training", "learning_rate"), 0.002),
        ("training.epochs=7", ("training", "epochs"), 7),
        ("seeds=[0, 1, 2]", ("seeds",), [0, 1, 2]),
        ("quantize=null", ("quantize",), None),
        ("split.test_fold=", ("split", "test_fold"), None),
        ("data.root=/a/b c", ("data", "root"), "/a/b c"),
        ("title=a: b", ("title",), None),
        ("title='yes = no'", ("title",), "yes = no"),
        ("network.widths=[4, 6, 8]", ("network", "widths"), [4, 6, 8]),
    ],
)
def test_set_takes_yaml_values(parsed, change, key, value):
    found = parsed(BASE, change)
    if change == "title=a: b":  # a mapping, and no title
        assert "title" in found
        return
    for part in key:
        found = getattr(found, part)
    assert found == value


def test_set_fills_a_part_that_was_left_empty(parsed):
    found = parsed(BASE + "training:\n", "training.epochs=4")
    assert found.training.epochs == 4


def test_a_resolved_recipe_reads_as_itself(tmp_path):
    for name in shipped_recipes():
        recipe = load_recipe(name)
        path = tmp_path / f"{name}.yaml"
        path.write_text(recipe.to_yaml(), encoding="utf-8")
        assert load_recipe(path) == recipe
        assert Recipe.model_validate(yaml.safe_load(recipe.to_yaml())) == recipe


def test_a_recipe_is_found_by_path_first_and_by_shipped_name_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (
        load_recipe("esc10").name == load_recipe("recipes/esc10.yaml").name == load_recipe("esc10.yaml").name == "esc10"
    )
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "esc10.yaml").write_text("name: own\ndata: {source: x}\n")
    assert load_recipe("recipes/esc10.yaml").name == "own"
    with pytest.raises(CoppiceError, match=r"there is no recipe 'esc1O': no such file\. Did you mean 'esc10'"):
        load_recipe("esc1O")
    with pytest.raises(CoppiceError, match="no such file"):
        load_recipe("elsewhere/esc10.yaml")
    with pytest.raises(CoppiceError, match="it is a folder; give a file"):
        load_recipe(tmp_path / "recipes")
