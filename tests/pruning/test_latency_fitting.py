"""Plans for a latency, with a clock that is a formula: it never depends on real time."""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from coppice.complexity.latency_table import LatencyTable
from coppice.core.errors import CoppiceError
from coppice.networks.dcase2021 import DCASE2021
from coppice.pruning.plan import PruningPlan
from coppice.pruning.planning.budget import Budget
from coppice.pruning.planning.costs import trace_costs
from coppice.pruning.planning.decide import plan
from coppice.pruning.surgery.prune import prune

PAGE = Path(__file__).parents[2] / "docs" / "budgets.md"


@dataclass
class Lanes:
    """A processor that always computes so many filters at once, as engines with wide vectors do."""

    lanes: int = 16
    slower: float = 1.0  # whole networks than the sum of their products
    name: str = "a made-up processor"
    asked: list[str] = field(default_factory=list)

    def product_ms(self, product):
        self.asked.append(product.key)
        if product.kind == "matrix":
            return 1e-6 * math.prod(product.input) * product.weight[1]
        filters, channels, *kernel = product.weight
        filters = self.lanes * math.ceil(filters / self.lanes)
        return 1e-6 * filters * channels * math.prod(kernel) * math.prod(product.input[2:])

    def networks_ms(self, networks, example):
        found = {}
        for name, network in networks.items():
            costs = trace_costs(network, example)
            products = sum(Lanes(self.lanes).product_ms(timed.product) for timed in costs.products)
            found[name] = self.slower * products + 1e-5 * costs.total(costs.values, costs.left(()))
        return found


@pytest.fixture
def network():
    return DCASE2021(frames=120)


@pytest.fixture
def example():
    return torch.zeros(1, 1, 40, 120)


def widths(made):
    return {layer.name: len(layer.keep) for layer in made.layers}


def measured(runtime, network, made, example):
    small = prune(network, made, example=example)
    return runtime.networks_ms({"it": small}, example)["it"]


@pytest.mark.parametrize("share", [90, 75, 55, 40])
def test_the_planner_finds_by_itself_what_pays(network, example, share):
    runtime = Lanes()
    made = plan(
        network,
        "l1",
        budget=Budget(latency_ms=f"{share}%"),
        layers=["conv1", "conv2"],
        example=example,
        latencies=LatencyTable(runtime),
    )
    whole = runtime.networks_ms({"it": network}, example)["it"]
    assert measured(runtime, network, made, example) <= share / 100 * whole
    said = [remark for remark in made.remarks if " here: " in remark]
    # Fewer filters in conv2 spare conv3 some work, but conv2 itself none; those of conv1 spare conv2 most of its own.
    assert widths(made)["conv1"] < 16
    assert any(remark.startswith("latency_ms: ") and runtime.name in remark for remark in made.remarks)
    assert widths(made)["conv2"] >= 12 > widths(made)["conv1"] or widths(made)["conv2"] == 16
    assert [remark.split(" here")[0] for remark in said] == ["conv2 below 16 filters gains little"]


def test_the_plan_in_the_documentation_is_what_comes_out():
    network, example = DCASE2021(frames=500), torch.zeros(1, 1, 40, 500)
    budget = Budget(latency_ms="40%")
    made = plan(network, "l1", budget=budget, example=example, latencies=LatencyTable(Lanes()))
    page = PAGE.read_text(encoding="utf-8")
    assert widths(made) == {"conv1": 4, "conv2": 16, "conv3": 32} and "keeps 4, 16 and 32 filters" in page
    assert "\n".join(made.remarks[3:]) in page


def test_layers_that_gain_nothing_are_named_and_keep_their_filters(network, example):
    made = plan(
        network,
        "l1",
        budget=Budget(latency_ms="60%"),
        layers=["conv1", "conv3"],
        example=example,
        latencies=LatencyTable(Lanes(lanes=32)),
    )
    assert widths(made)["conv3"] == 32
    (said,) = [remark for remark in made.remarks if " here: " in remark]
    assert re.fullmatch(
        r"conv3 below 32 filters gains nothing here: "
        r"going down to 1 saves [\d.]+ % of the time and [\d.]+ % of the MACs.",
        said,
    )
    assert PruningPlan.from_json(made.to_json()) == made


def test_the_plan_holds_when_the_network_is_slower_than_its_parts(network, example):
    runtime = Lanes(lanes=1, slower=1.7)
    before = runtime.networks_ms({"it": network}, example)["it"]
    made = plan(network, "l1", budget=Budget(latency_ms=0.3 * before), example=example, latencies=LatencyTable(runtime))
    assert measured(runtime, network, made, example) <= 0.3 * before


def test_the_smallest_network_is_taken_when_nothing_else_holds(network, example):
    class Deaf(Lanes):  # whole networks take the same time until they are as small as can be
        def networks_ms(self, networks, example):
            return {
                name: 1.0 if net.conv1.out_channels == net.conv3.out_channels == 2 else 9.0
                for name, net in networks.items()
            }

    how = {"minimum": 2, "example": example, "latencies": LatencyTable(Deaf())}
    made = plan(network, "l1", budget=Budget(latency_ms="70%"), **how)
    assert widths(made) == {"conv1": 2, "conv2": 2, "conv3": 2}


def test_a_plan_is_near_its_bound_although_single_layers_seemed_slower_than_they_are(network, example):
    class Late(Lanes):  # what single layers take says too much of how fast time falls
        def product_ms(self, product):
            return 3 * super().product_ms(product)

    runtime = Late(lanes=1)
    before = runtime.networks_ms({"it": network}, example)["it"]
    made = plan(network, "l1", budget=Budget(latency_ms="50%"), example=example, latencies=LatencyTable(runtime))
    assert 0.85 * 0.5 * before <= measured(runtime, network, made, example) <= 0.5 * before


def test_times_that_lead_nowhere_leave_the_order_of_importance(network, example):
    class Misled(Lanes):  # single layers take longer the fewer filters they have
        def product_ms(self, product):
            return 50 / super().product_ms(product)

    runtime = Misled(lanes=1)
    before = runtime.networks_ms({"it": network}, example)["it"]
    made = plan(network, "l1", budget=Budget(latency_ms="60%"), example=example, latencies=LatencyTable(runtime))
    assert 0.5 * before <= measured(runtime, network, made, example) <= 0.6 * before


def test_nothing_is_refused_for_a_single_measurement(network, example):
    class Disturbed(Lanes):
        measured = 0

        def networks_ms(self, networks, example):
            self.measured += 1
            times = super().networks_ms(networks, example)
            return times if self.measured != 2 else {"whole": times["whole"], "pruned": 9 * times["pruned"]}

    least = plan(network, "l1", keep={"conv1": 1, "conv2": 1, "conv3": 1}, example=example)
    budget = Budget(latency_ms=measured(Lanes(), network, least, example))
    made = plan(network, "l1", budget=budget, example=example, latencies=LatencyTable(Disturbed()))
    assert widths(made) == widths(least)


def test_a_machine_that_is_not_steady_is_said(network, example):
    class Tired(Lanes):
        def networks_ms(self, networks, example):
            self.slower *= 1.2
            return super().networks_ms(networks, example)

    for runtime, unsteady in ((Lanes(), False), (Tired(), True)):
        made = plan(network, "l1", budget=Budget(latency_ms="60%"), example=example, latencies=LatencyTable(runtime))
        assert any("other programs were running" in remark for remark in made.remarks) == unsteady
        (said,) = [remark for remark in made.remarks if remark.startswith("latency_ms: ")]
        before, after, _, limit = map(float, re.findall(r"[\d.]+(?= before| after| predicted| \()", said))
        assert after <= limit == pytest.approx(0.6 * before, rel=0.01)


def test_latency_and_counts_hold_together(network, example):
    runtime = Lanes()
    budget = Budget(latency_ms="70%", params="60%")
    made = plan(network, "l1", budget=budget, minimum=2, example=example, latencies=LatencyTable(runtime))
    counts = trace_costs(prune(network, made, example=example), example).counts()
    assert counts.params <= 0.6 * trace_costs(network, example).counts().params
    assert measured(runtime, network, made, example) <= 0.7 * runtime.networks_ms({"it": network}, example)["it"]


def test_an_infeasible_latency_is_refused_with_the_nearest(network, example):
    how = {"example": example, "protect": ["conv1"], "minimum": 4}
    whole = Lanes().networks_ms({"it": network}, example)["it"]
    said = rf"latency_ms cannot go below [\d.]+ of {whole:.3g} \(the budget says 1%\) with minimum=4 and 'conv1'"
    with pytest.raises(CoppiceError, match=said) as refused:
        plan(network, "l1", budget=Budget(latency_ms="1%"), latencies=LatencyTable(Lanes()), **how)
    nearest = float(re.search(r"below ([\d.]+)", str(refused.value))[1])
    made = plan(network, "l1", budget=Budget(latency_ms=nearest), latencies=LatencyTable(Lanes()), **how)
    assert measured(Lanes(), network, made, example) <= nearest


def test_plans_are_the_same_each_time_and_measure_nothing_twice(network, example):
    table = LatencyTable(Lanes())
    made = plan(network, "l1", budget=Budget(latency_ms="60%"), example=example, latencies=table)
    assert len(table.runtime.asked) == len(set(table.runtime.asked)) == len(table.times_ms)
    table.runtime.asked.clear()
    assert plan(network, "l1", budget=Budget(latency_ms="60%"), example=example, latencies=table) == made
    assert not table.runtime.asked


def test_an_interrupted_measurement_goes_on_from_where_it_was(network, example, tmp_path):
    class Interrupted(Lanes):
        def product_ms(self, product):
            if len(self.asked) == 7:
                raise KeyboardInterrupt
            return super().product_ms(product)

    table = LatencyTable.on_disk(Interrupted(), folder=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        plan(network, "l1", budget=Budget(latency_ms="60%"), example=example, latencies=table)
    again = LatencyTable.on_disk(Lanes(), folder=tmp_path)
    assert len(again.times_ms) == 7
    plan(network, "l1", budget=Budget(latency_ms="60%"), example=example, latencies=again)
    assert not set(table.times_ms) & set(again.runtime.asked)
    assert LatencyTable.on_disk(Lanes(), folder=tmp_path).times_ms == again.times_ms
