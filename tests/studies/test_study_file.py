from itertools import product

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from coppice.core.errors import CoppiceError
from coppice.datasets.sources import open_dataset
from coppice.networks.surrey2022 import Surrey2022
from coppice.recipes.recipe import load_recipe
from coppice.studies.axes import recipe_at
from coppice.studies.grid import folds_to_use, identity, points, runs
from coppice.studies.study_file import load_study, shipped_studies

BASE = """\
name: mine
recipe:
  data: {source: synthetic, synthetic: {clips_per_class: 5, duration_s: 0.5}}
  systems:
    thin:
      - prune: {criterion: l1, keep: {conv2: 11}}
      - finetune: {epochs: 4}
axes:
  criterion: [l1, random]
  ratios: [0.25, 0.5]
"""


# Of whole recipes; runs are known by them. Taken before a fit could stop at a price.
DIGESTS = {"esc10": "03311e6fa81ad30b", "demo": "5056b4003ae0b23b", "dcase2025-baseline": "95eb82016573be69"}


@pytest.fixture
def loaded(tmp_path):
    """Read a study from text; return the sentence if it or one of its points is refused."""

    def read(text, *changes):
        (tmp_path / "mine.yaml").write_text(text)
        try:
            study = load_study(tmp_path / "mine.yaml", changes=changes)
            points(study)
        except CoppiceError as error:
            return str(error)
        return study

    return read


def steps(point):
    (system,) = point.recipe.systems.values()
    return [{key: value for key, value in step.model_dump().items() if value is not None} for step in system]


def test_axes_are_crossed_in_the_order_of_the_file(loaded):
    found = points(loaded(BASE))
    assert [tuple(point.labels.values()) for point in found] == [*product(("l1", "random"), ("0.25", "0.5"))]
    assert [point.name for point in found][:2] == ["criterion=l1 ratios=0.25", "criterion=l1 ratios=0.5"]
    prune, finetune = steps(found[3])
    assert (prune["prune"]["criterion"], prune["prune"]["ratios"], prune["prune"]["keep"]) == ("random", 0.5, None)
    assert finetune["finetune"]["epochs"] == 4


def test_zipped_axes_go_in_step_and_are_crossed_with_the_others(loaded):
    found = points(loaded(BASE + "  training.epochs: [3, 9]\nzip: [criterion, training.epochs]\n"))
    assert [tuple(point.labels.values()) for point in found] == [
        ("l1", "0.25", "3"),
        ("l1", "0.5", "3"),
        ("random", "0.25", "9"),
        ("random", "0.5", "9"),
    ]
    assert [point.recipe.training.epochs for point in found] == [3, 3, 9, 9]


@pytest.mark.parametrize("exclusion", ["{criterion: random, ratios: 0.5}", "{criterion: [random], ratios: [0.5, 0.5]}"])
def test_what_is_excluded_is_left_out(loaded, exclusion):
    found = points(loaded(BASE + f"exclude: [{exclusion}]\n"))
    assert [tuple(point.labels.values()) for point in found] == [("l1", "0.25"), ("l1", "0.5"), ("random", "0.25")]


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    cap=st.integers(1, 40),
    excluded=st.integers(0, 6),
)
def test_a_cap_draws_the_same_points_each_time_all_from_the_grid_and_none_excluded(
    tmp_path_factory, sizes, cap, excluded
):
    names = ("training.epochs", "training.patience", "training.batch_size", "split.seed")
    values = yaml.safe_load(BASE) | {
        "axes": {name: list(range(1, size + 1)) for name, size in zip(names, sizes, strict=False)}
    }
    first = names[0]
    if excluded and excluded <= sizes[0]:
        values["exclude"] = [{first: excluded}]
    path = tmp_path_factory.mktemp("study") / "mine.yaml"
    path.write_text(yaml.safe_dump(values))
    whole = {name for name in _names(path)}
    path.write_text(yaml.safe_dump({**values, "cap": cap}))
    drawn = _names(path)
    assert len(drawn) == len(set(drawn)) == min(cap, len(whole))
    assert set(drawn) <= whole
    assert _names(path) == drawn


def _names(path):
    try:
        return [point.name for point in points(load_study(path))]
    except CoppiceError as error:
        assert "every point is excluded" in str(error)
        return []


def test_a_grid_beyond_counting_is_capped_without_going_through_it(loaded):
    axes = "".join(f"  network.x{letter}: [{', '.join(map(str, range(30)))}]\n" for letter in "abcdefghijklmnopqrst")
    study = loaded(BASE + axes + "cap: 12\n")
    assert len(points(study)) == 12


@pytest.mark.parametrize(
    ("axis", "wanted"),
    [
        ("fraction: [0]", [["prune"]]),
        ("fraction: {some: 0.5}", [["prune", "finetune"]]),
        ("finetune.epochs: [7]", [["prune", "finetune"]]),
        ("finetune.stop: {dear: {gain_per_tmac: 0.1}, never: null}", [["prune", "finetune"]] * 2),
        ("schedule: [iterative, one_shot]", [["iterative"], ["prune", "finetune"]]),
        ("schedule: {five: {progressive: {steps: 5, shape: cubic}}}", [["progressive"]]),
        ("system: {bare: [prune: {criterion: l2, ratios: 0.5}, reset], thin: thin}", [["prune", "reset"], None]),
        ("precision: [float16, null]", [["prune", "finetune"]] * 2),
    ],
)
def test_named_axes_change_the_steps(loaded, axis, wanted):
    text = BASE.replace("  criterion: [l1, random]\n  ratios: [0.25, 0.5]\n", f"  {axis}\n")
    if "iterative" in axis or "progressive" in axis:
        text = text.replace("keep: {conv2: 11}", "ratios: 0.5, layers: [conv2, conv3]")
    study = loaded(text)
    assert not isinstance(study, str), study
    found = [[next(iter(step)) for step in steps(point)] for point in points(study)]
    assert found == [part or ["prune", "finetune"] for part in wanted]
    first = points(study)[0]
    made = {kind: options for step in steps(first) for kind, options in step.items()}
    if "some" in axis:
        assert made["finetune"]["fraction"] == 0.5
    if "stop" in axis:
        assert made["finetune"]["stop"] == {"gain_per_tmac": 0.1, "window": 20}
    if "epochs" in axis:
        assert made["finetune"]["epochs"] == 7
    if "iterative" in axis:
        assert made["iterative"]["finetune"]["epochs"] == 4
        assert made["iterative"]["layers"] == ["conv2", "conv3"]
    if "five" in axis:
        assert (made["progressive"]["steps"], made["progressive"]["shape"]) == (5, "cubic")
    if "precision" in axis:
        assert [point.recipe.quantize for point in points(study)] == ["float16", None]


def test_a_point_leaves_the_base_recipe_as_it_is():
    base = {"training": {"epochs": 3}, "systems": {}}
    system = [{"prune": {"criterion": "l1", "keep": {"conv2": 11}}}, {"finetune": {}}]
    recipe_at(base, system, {"criterion": "l2", "ratios": 0.5, "training.epochs": 9, "fraction": 0.5}, "a point")
    assert base == {"training": {"epochs": 3}, "systems": {}}
    assert system == [{"prune": {"criterion": "l1", "keep": {"conv2": 11}}}, {"finetune": {}}]


@pytest.mark.parametrize("name", DIGESTS)
def test_runs_of_older_studies_keep_their_digests(name):
    assert identity(load_recipe(name), "x") == DIGESTS[name]
    stopping = load_recipe(name, changes=["training.stop.gain_per_tmac=0.1", "training.patience=999"])
    patient = load_recipe(name, changes=["training.patience=999"])
    assert identity(stopping, "x") != identity(patient, "x")


def test_every_point_is_run_with_every_fold_and_seed(loaded):
    study = loaded(BASE + "  fold: all\n  seed: [0, 3]\n")
    folds = folds_to_use(study, open_dataset("synthetic", clips_per_class=5, duration_s=0.5))
    found = runs(study, points(study, folds=len(folds)), folds)
    assert folds == [1, 2, 3, 4, 5]
    assert len(found) == 4 * 5 * 2
    assert {(run.recipe.split.test_fold, *run.recipe.seeds) for run in found} == {*product(folds, (0, 3))}
    assert all(run.recipe.is_single for run in found)


def folds_to_use_and_seeds_come_from_the_recipe_where_the_study_has_no_axis(loaded):
    study = loaded(BASE, "folds=all", "seeds=[4, 5]")
    assert (study.folds, study.seeds) == ("all", [4, 5])


def test_changes_and_set_reach_the_base_recipe(loaded):
    study = loaded(BASE + "set: {training.epochs: 7, training.patience: 3}\n", "training.epochs=8")
    assert (study.recipe.training.epochs, study.recipe.training.patience) == (8, 3)


def test_a_recipe_beside_the_study_is_found_and_written_out(loaded, tmp_path):
    (tmp_path / "own.yaml").write_text("name: own\ndata: {source: x}\nsystems: {a: [{prune: {criterion: l2}}]}\n")
    axes = "axes:\n  ratios: [0.25]\n"
    study = loaded(f"name: s\nrecipe: own.yaml\nset: {{training.epochs: 9}}\n{axes}")
    again = loaded(study.to_yaml())
    assert again.recipe == study.recipe == load_recipe(tmp_path / "own.yaml", changes=["training.epochs=9"])
    assert [point.recipe for point in points(again)] == [point.recipe for point in points(study)]


def test_the_ensembles_of_2022_have_the_published_numbers_of_parameters():
    # Sums over members of trainable weights and running statistics, as Keras counts them.
    study = load_study("dcase2022-ensemble")
    whole = {"conv1": 16, "conv2": 16, "conv3": 32}
    params = {}
    for name, keep in study.axes["keep"].items():
        net = Surrey2022(widths=list((whole | keep).values()))
        params[name] = sum(tensor.numel() for key, tensor in net.state_dict().items() if "num_batches" not in key)
    sums = {one.name: sum(params[member] for member in one.members) for one in study.ensembles if one.size is None}
    assert (sums["all six"], sums["all but C3"], sums["all but C23"]) == (70_966, 59_570, 60_958)


@pytest.mark.parametrize(
    "name",
    [
        "criteria-shootout",
        "dcase2022-ensemble",
        "epanns",
        "finetune-fraction",
        "icassp2023",
        "interspeech2022",
        "training-recipes",
    ],
)
def test_shipped_studies_can_be_read_and_are_short(name):
    study = load_study(name)
    assert points(study, folds=5)
    assert len(shipped_studies()[name].read_text().splitlines()) <= 30


def test_the_shootout_is_as_large_as_it_says():
    study = load_study("criteria-shootout")
    assert len(study.axes["criterion"]) >= 6
    assert (list(study.axes["ratios"].values()), study.seeds, study.folds) == ([0.25, 0.5, 0.75], [0, 1, 2], "all")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("ratios:", "ratos:", "there is no axis 'ratos'. Did you mean 'ratios'?"),
        ("ratios:", "trainig.epochs:", "there is no axis 'trainig.epochs'."),
        ("ratios:", "seeds:", "there is no axis 'seeds'. Did you mean 'seed'?"),
        ("ratios:", "name:", "there is no axis 'name'."),
        ("ratios: [0.25, 0.5]", "training.epocs: [3]", "has no key 'training.epocs'. Did you mean 'epochs'?"),
        ("ratios: [0.25, 0.5]", "training.epochs: [3, many]", "point criterion=l1 training.epochs=many: training.ep"),
        ("ratios: [0.25, 0.5]", "quantize.to: [3]", "axis 'quantize.to': 'quantize' holds a value, not keys."),
        ("[0.25, 0.5]", "[0.25, half]", "point criterion=l1 ratios=half: systems.pruned.0.prune.ratios is 'half'"),
        ("[0.25, 0.5]", "[]", "axis 'ratios' has no values, so the grid is empty"),
        ("[0.25, 0.5]", "{}", "axis 'ratios' has no values, so the grid is empty"),
        ("[0.25, 0.5]", "all", "axis 'ratios' is 'all'; only fold can be."),
        ("[0.25, 0.5]", "0.5", "axes.ratios"),
        ("[0.25, 0.5]", "[0.25, 0.250]", "axis 'ratios' holds '0.25' twice"),
        ("axes:", "axs:", "study mine.yaml has no key 'axs'. Did you mean 'axes'?"),
        ("name: mine", "nme: mine", "has no key 'nme'. Did you mean 'name'?"),
        ("recipe:\n", "recipe:\n  bad: 1\n", "study mine.yaml: its recipe has no key 'bad'."),
        ("recipe:\n", "zip: [criterion, rations]\nrecipe:\n", "zip names 'rations', no axis. Did you mean 'ratios'?"),
        ("recipe:\n", "zip: [criterion, criterion]\nrecipe:\n", "zip names 'criterion' twice"),
        ("recipe:\n", "zip: [criterion, seed]\nrecipe:\n", "zip names 'seed'; every point is run with all folds and"),
        ("recipe:\n", "exclude: [{ratio: 0.5}]\nrecipe:\n", "exclude names 'ratio'. Did you mean 'ratios'?"),
        ("recipe:\n", "exclude: [{ratios: 0.7}]\nrecipe:\n", "exclude: axis 'ratios' has no value '0.7'."),
        ("recipe:\n", "exclude: [{criterion: l}]\nrecipe:\n", "axis 'criterion' has no value 'l'. Did you mean 'l1'?"),
        ("recipe:\n", "exclude: [{}]\nrecipe:\n", "exclude holds an empty point"),
        (
            "recipe:\n",
            "exclude: [{criterion: [l1, random]}]\nrecipe:\n",
            "every point is excluded, so the grid is empty",
        ),
        ("recipe:\n", "cap: 0\nrecipe:\n", "cap is 0: input should be greater than or equal to 1."),
        ("ratios:", "seed: [0, 1]\n  ratios:", None),
        ("recipe:\n", "cap: 1\nrecipe:\n  seeds: [0, 1]\n", "cap is 1 and one point alone is 2 runs"),
        ("recipe:\n", "set: {data.source.x: 1}\nrecipe:\n", "set names 'data.source.x', but 'source' holds a value"),
        ("ratios:", "fold: [one]\n  ratios:", "axis 'fold' holds 'one'; give whole numbers, or fold: all."),
        ("ratios:", "seed: [-1]\n  ratios:", "axis 'seed' holds -1; give whole numbers from 0 upwards."),
        ("ratios:", "schedule: [itertive]\n  ratios:", "axis 'schedule' holds 'itertive'. Did you mean 'iterative'?"),
        ("ratios:", "system: [thn]\n  ratios:", "axis 'system': the recipe has no system 'thn'. Did you mean 'thin'?"),
        ("ratios:", "system: {x: [3]}\n  ratios:", "a step is 3; write for example prune: {criterion: l1}."),
        ("recipe:\n", "system: [finetune]\nrecipe:\n", "axis 'criterion' is of prune steps, and the system has none."),
        ("recipe:\n", "system: []\nrecipe:\n", "system is []: give at least one."),
        (
            "recipe:\n",
            "system: [prune: {criterion: l1}]\nrecipe:\n",
            None,
        ),
        (
            "criterion: [l1, random]\n  ratios: [0.25, 0.5]",
            "fraction: [0]\nsystem: [prune: {criterion: l1}]",
            "axis 'fraction' is of finetune steps, and the system has none.",
        ),
        (
            "criterion: [l1, random]\n  ratios: [0.25, 0.5]",
            "fraction: [0]\nsystem: [finetune]",
            "point fraction=0: nothing is left of the system's steps",
        ),
        (
            "ratios:",
            "schedule: [iterative]\n  fraction: [0]\n  ratios:",
            "a prune step has no finetune step behind it; add one, or exclude this point.",
        ),
        (
            "[0.25, 0.5]",
            f"[{', '.join(str(n / 2000) for n in range(1, 1001))}]\n  training.epochs: {[*range(1, 1001)]}",
            "is a grid of 2,000,000 points: 2,000,000 runs, and more than 10,000 are refused",
        ),
    ],
)
def test_a_mistake_is_one_sentence(loaded, old, new, sentence):
    found = loaded(BASE.replace(old, new))
    if sentence is None:
        assert not isinstance(found, str), found
        return
    assert isinstance(found, str)
    assert sentence in found
    assert "\n" not in found
    assert len(found) < 500


def test_zipped_axes_of_different_lengths_are_refused(loaded):
    found = loaded(BASE.replace("[l1, random]", "[l1, l2, random]") + "zip: [criterion, ratios]\n")
    assert "need equally many values; criterion has 3, ratios has 2." in found


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("nope.yaml", "there is no study 'nope.yaml': no such file."),
        ("criteria-shotout", "Did you mean 'criteria-shootout'?"),
    ],
)
def test_a_study_that_is_not_there_is_one_sentence(given, sentence):
    with pytest.raises(CoppiceError) as caught:
        load_study(given)
    assert sentence in str(caught.value)


def test_a_recipe_that_is_not_there_is_one_sentence(loaded):
    found = loaded("name: x\nrecipe: esc11\naxes: {ratios: [0.5]}\n")
    assert "there is no recipe 'esc11': no such file. Did you mean 'esc10'?" in found


def folds_to_use_that_the_clips_do_not_have_are_refused(loaded):
    study = loaded(BASE + "  fold: [1, 9]\n")
    dataset = open_dataset("synthetic", clips_per_class=5, duration_s=0.5)
    with pytest.raises(CoppiceError, match="there is no fold 9; 'synthetic' has 1, 2, 3, 4, 5"):
        folds_to_use(study, dataset)
