import re

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.pruning.architectures import architectures, build

from coppice.complexity.latency_table import LatencyTable, TorchRuntime
from coppice.complexity.profile import profile
from coppice.core.errors import CoppiceError
from coppice.networks.cp_mobile import CPMobile
from coppice.pruning.planning.budget import Budget
from coppice.pruning.planning.decide import plan
from coppice.pruning.surgery.prune import prune

NAMES = {"params": "params_total", "macs": "macs", "bytes": "size_bytes_float32"}


def held(network, example, made):
    cost = profile(prune(network, made, example=example), example=example, latency=False)
    return {name: getattr(cost, theirs) for name, theirs in NAMES.items()}


def widths(made):
    return {layer.name: len(layer.keep) for layer in made.layers}


@pytest.mark.parametrize(
    ("bound", "limits"),
    [
        ({"macs": "50%"}, {"macs": 500}),
        ({"macs": "29 %"}, {"macs": 290}),
        ({"macs": 700}, {"macs": 700}),
        ({"macs": "0.7 k"}, {"macs": 700}),
        ({"macs": "1.2e2"}, {"macs": 120}),
        ({"params": "1_000"}, {"params": 1000}),
        ({"params": "46,246"}, {"params": 46246}),
        ({"bytes": "128 kB"}, {"bytes": 128_000}),
        ({"bytes": "128KiB"}, {"bytes": 131_072}),
        ({"bytes": "50%", "stored_as": "float16"}, {"bytes": 10}),
        ({"bytes": "50%", "latency_ms": "3 ms"}, {"bytes": 20}),
    ],
)
def test_a_bound_is_a_number_a_text_with_a_unit_or_a_share(bound, limits):
    assert Budget(**bound).limits(params=10, macs=1000, numbers=10) == limits


@pytest.mark.parametrize(
    ("bound", "said"),
    [
        ({}, "no bound"),
        ({"macs": 0}, "above 0"),
        ({"macs": -3}, "above 0"),
        ({"macs": float("nan")}, "nan"),
        ({"macs": float("inf")}, "inf"),
        ({"macs": True}, "True"),
        ({"macs": "half"}, "'half'"),
        ({"macs": "0%"}, "above 0"),
        ({"macs": "120%"}, "at most '100%'"),
        ({"macs": "3 kB"}, "unit 'kB'"),
        ({"macs": "9" * 50}, "give a number"),
        ({"bytes": "128 KB"}, "write kB or KiB"),
        ({"latency_ms": "3 min"}, "2.5 ms"),
        ({"macs": "50%", "stored_as": "int4"}, "stored_as is 'int4'"),
        ({"latency_ms": "50%", "runtime": "onnxrutime"}, "no runtime 'onnxrutime'. Did you mean 'onnxruntime'"),
        ({"macs": "50%", "runtime": "openvino"}, "the budget's runtime is 'openvino' but no latency is bounded"),
    ],
)
def test_a_bound_that_cannot_be_read_is_refused(bound, said):
    with pytest.raises(CoppiceError) as refused:
        Budget(**bound)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    "budget",
    [
        Budget(macs="50%", bytes="9 kB", stored_as="float16"),
        Budget(latency_ms=2.5),
        Budget(params=9, latency_ms="50%", runtime="openvino"),
    ],
)
def test_a_budget_comes_back_from_names_and_values(budget):
    assert Budget.from_mapping(budget.to_mapping()) == budget


def test_times_in_one_runtime_are_not_for_a_budget_in_another(plain, image):
    budget = Budget(latency_ms="50%", runtime="torch")
    with pytest.raises(CoppiceError, match=r"runtime is 'torch', and latencies are times in .*; give one of the two"):
        plan(plain, "l1", budget=budget, example=image, latencies=LatencyTable(TorchRuntime()))


def test_several_bounds_hold_at_once_and_no_filter_more_goes(plain, image):
    budget = Budget(macs="60%", params="70%", bytes="2.9 kB")
    before = profile(plain, example=image, latency=False)
    made = plan(plain, "l1", budget=budget, example=image)
    after = held(plain, image, made)
    limits = budget.limits(params=before.params_total, macs=before.macs, numbers=before.size_bytes_float32 // 4)
    assert all(after[name] <= limit for name, limit in limits.items())
    assert any(f"macs: {before.macs:,} before, {after['macs']:,} after" in remark for remark in made.remarks)
    assert "macs 60%" in made.decided_by and "mean" in made.decided_by
    # The last filter to go was needed: one remains less important than all that were kept.
    looser = plan(plain, "l1", budget=Budget(macs=after["macs"], params=after["params"]), example=image)
    assert looser.layers == made.layers


def test_a_budget_that_holds_already_removes_nothing(plain, image):
    made = plan(plain, "l1", budget=Budget(macs="100%"), example=image)
    assert all(not layer.removed for layer in made.layers)


def test_an_infeasible_budget_is_refused_with_figures_that_can_be_reached(plain, image):
    how = {"example": image, "minimum": 4, "protect": ["conv1"]}
    with pytest.raises(CoppiceError) as refused:
        plan(plain, "l1", budget=Budget(macs="5%", params=200), **how)
    said = str(refused.value)
    assert "minimum=4 and 'conv1' protected" in said and "the budget says 5%" in said
    nearest = {
        name: int(figure.replace(",", "")) for name, figure in re.findall(r"(\w+) cannot go below ([\d,]+)", said)
    }
    assert set(nearest) == {"macs", "params"}
    made = plan(plain, "l1", budget=Budget(**nearest), **how)
    assert widths(made) == {"conv2": 4, "conv3": 4}
    for name in nearest:
        with pytest.raises(CoppiceError, match=f"{name} cannot go below"):
            plan(plain, "l1", budget=Budget(**{**nearest, name: nearest[name] - 1}), **how)


@pytest.mark.proof
@pytest.mark.proof
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    architecture=architectures(),
    shares=st.dictionaries(st.sampled_from(list(NAMES)), st.integers(1, 100), min_size=1),
    round_to=st.sampled_from([1, 1, 2, 4]),
    minimum=st.integers(1, 4),
    scope=st.sampled_from(["network", "layer"]),
    seed=st.integers(0, 99),
)
def test_any_budget_is_held_or_refused_with_figures_that_can_be(architecture, shares, round_to, minimum, scope, seed):
    network, example = build(architecture)
    how = {"example": example, "round_to": round_to, "minimum": minimum, "scope": scope, "seed": seed}
    budget = Budget(**{name: f"{share}%" for name, share in shares.items()})
    try:
        made = plan(network, "random", budget=budget, **how)
    except CoppiceError as error:
        nearest = dict(re.findall(r"(\w+) cannot go below ([\d,]+)", str(error)))
        assume(nearest)  # no layer can be cut at all
        bounds = {name: f"{share}%" for name, share in shares.items()}
        made = plan(network, "random", budget=Budget(**(bounds | nearest)), **how)
        budget = Budget(**(bounds | nearest))
    after = held(network, example, made)
    before = profile(network, example=example, latency=False)
    limits = budget.limits(params=before.params_total, macs=before.macs, numbers=before.size_bytes_float32 // 4)
    assert all(after[name] <= limit for name, limit in limits.items())
    for layer in made.layers:
        assert len(layer.keep) == layer.filters or (len(layer.keep) % round_to == 0 and len(layer.keep) >= minimum)


def test_a_tighter_budget_only_removes_more(some_network):
    network, example = some_network
    for how in ({}, {"round_to": 2}, {"normalisation": "l2"}, {"scope": "layer"}):
        kept = None
        for share in range(100, 0, -9):
            try:
                made = plan(network, "l1", budget=Budget(macs=f"{share}%"), example=example, **how)
            except CoppiceError as error:
                assert "cannot go below" in str(error)
                break
            now = {layer.name: set(layer.keep) for layer in made.layers}
            assert kept is None or all(now[name] <= kept[name] for name in now)
            kept = now


def test_the_dense_layers_take_part_when_they_are_named(plain, image):
    layers = ["conv2", "conv3", "dense1"]
    made = plan(plain, "l1", budget=Budget(params="40%"), layers=layers, example=image)
    assert [layer.name for layer in made.layers] == layers
    assert widths(made)["dense1"] < 9
    with pytest.raises(CoppiceError, match=r"minimum=1 and only 'conv2' and 'conv3' cut"):
        plan(plain, "l1", budget=Budget(params=1), layers=layers[:2], example=image)


def test_all_layers_lose_the_same_share_in_the_scope_of_layers():
    network = CPMobile()
    example = torch.zeros(1, *network.input_shape) if hasattr(network, "input_shape") else torch.zeros(1, 1, 256, 64)
    made = plan(network, "l1", budget=Budget(macs="50%"), scope="layer", example=example)
    shares = [len(layer.removed) / layer.filters for layer in made.layers]
    assert max(shares) - min(shares) <= max(1 / layer.filters for layer in made.layers)
    assert "same share" in made.decided_by
    assert held(network, example, made)["macs"] <= profile(network, example=example, latency=False).macs // 2


def test_coupled_layers_are_one_decision_and_the_plan_says_so(residual, image):
    made = plan(residual, "l1", budget=Budget(macs="60%"), example=image)
    assert "stem.0 decides for second.0: their filters live and die together." in made.remarks
    protected = plan(residual, "l1", budget=Budget(macs="60%"), protect=["second.0"], example=image)
    assert "stem.0" not in widths(protected)
