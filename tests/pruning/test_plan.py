import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coppice.core.errors import CoppiceError
from coppice.pruning.plan import LayerPlan, PruningPlan

modest = settings(max_examples=60, deadline=None, derandomize=True)
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)


@st.composite
def plans(draw):
    layers = []
    for name in draw(st.lists(names, unique=True, max_size=4)):
        filters = draw(st.integers(1, 40))
        keep = draw(st.sets(st.integers(0, filters - 1), min_size=1))
        coupled = draw(st.lists(names.map(lambda text: "." + text * 9), unique=True, max_size=2))
        layers.append(LayerPlan(name, filters, tuple(sorted(keep)), tuple(coupled)))
    decided_by, remarks = draw(st.none() | names), tuple(draw(st.lists(names, max_size=2)))
    return PruningPlan(draw(st.none() | names), tuple(layers), decided_by, remarks)


@modest
@given(plans())
def test_json_round_trip_gives_the_same_plan(plan):
    assert PruningPlan.from_json(plan.to_json()) == plan
    assert json.loads(plan.to_json())["version"] == 2


def test_a_plan_survives_the_disk(tmp_path):
    plan = PruningPlan("l1", (LayerPlan("conv2", 4, (0, 3), ("conv4",)),))
    plan.save(tmp_path / "plan.json")
    assert PruningPlan.load(tmp_path / "plan.json") == plan
    assert plan.keep("conv2") == (0, 3) and plan.keep("conv3") is None


def test_a_plan_of_version_1_is_still_read():
    plan = PruningPlan.from_data(document(entry()))
    assert (plan.version, plan.decided_by, plan.remarks) == (2, None, ())
    assert PruningPlan.from_json(plan.to_json()) == plan


def entry(**changes):
    return {"name": "conv2", "filters": 4, "keep": [0, 3], "coupled": []} | changes


def document(*layers, **changes):
    return {"version": 1, "criterion": None, "layers": list(layers)} | changes


WRONG = [
    ([], "the plan is"),
    ({"version": 1}, "no 'layers'"),
    (document(version=3), "version 3; this coppice reads up to 2"),
    (document(version=0), "version 0"),
    (document(version=2, decided_by=4), "decided_by is 4"),
    (document(version=2, remarks="none"), "give a list"),
    (document(version=2, remarks=[1]), "give a list of texts"),
    (document(version=True), "version True"),
    (document(version=1.0), "version 1.0"),
    (document(criterion=3), "criterion is 3"),
    (document(extra=1), "unknown entry 'extra'"),
    (document(layers={}), "give a list"),
    (document(7), "a layer in the plan is 7"),
    (document({"name": "conv2", "filters": 4}), "no 'keep'"),
    (document(entry(more=1)), "unknown entry 'more'"),
    (document(entry(name=None)), "called None"),
    (document(entry(filters="4")), "'4' filters"),
    (document(entry(filters=0)), "0 filters"),
    (document(entry(filters=True)), "True filters"),
    (document(entry(keep=3)), "give a list"),
    (document(entry(keep=[])), "keeps no filter"),
    (document(entry(keep=[0.0])), "give whole numbers"),
    (document(entry(keep=[True])), "give whole numbers"),
    (document(entry(keep=["0"])), "give whole numbers"),
    (document(entry(keep=[[0]])), "give whole numbers"),
    (document(entry(keep=[-1, 0])), "filter -1"),
    (document(entry(keep=[0, 4])), "filter 4 in the plan but has filters 0 to 3"),
    (document(entry(keep=[1, 1])), "filter 1 twice"),
    (document(entry(keep=[3, 0])), "sort the indices"),
    (document(entry(coupled=[1])), "give layer names"),
    (document(entry(coupled=["a", "a"])), "name each layer once"),
    (document(entry(coupled=["conv2"])), "name each layer once"),
    (document(entry(), entry()), "'conv2' stands twice"),
    (document(entry(coupled=["conv4"]), entry(name="conv4")), "drop its entry"),
]


@pytest.mark.parametrize(("value", "said"), WRONG)
def test_a_wrong_plan_is_refused_in_one_plain_sentence(value, said, tmp_path):
    with pytest.raises(CoppiceError) as refused:
        PruningPlan.from_json(json.dumps(value))
    assert said in str(refused.value)
    (tmp_path / "plan.json").write_text(json.dumps(value))
    with pytest.raises(CoppiceError, match=r"plan\.json"):
        PruningPlan.load(tmp_path / "plan.json")


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, '{"version": 1, "version": 1}', '{"version": NaN}', "9" * 5000, "\ud800"]
)
def test_text_that_is_no_plan_is_refused(text):
    with pytest.raises(CoppiceError):
        PruningPlan.from_json(text)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "plan.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CoppiceError, match="UTF-8"):
        PruningPlan.load(tmp_path / "plan.json")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "keep"]), inner),
    max_leaves=6,
)


@modest
@given(field=st.sampled_from(["name", "filters", "keep", "coupled"]), value=json_values)
def test_any_value_in_any_field_is_a_plan_or_a_plain_error(field, value):
    try:
        plan = PruningPlan.from_data(document(entry(**{field: value})))
    except CoppiceError:
        return
    assert PruningPlan.from_json(plan.to_json()) == plan
