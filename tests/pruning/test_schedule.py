from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from coppice.complexity.profile import profile
from coppice.core.errors import CoppiceError
from coppice.pruning.planning.budget import Budget
from coppice.pruning.planning.decide import plan
from coppice.pruning.planning.schedule import SHAPES, Schedule
from coppice.pruning.surgery.prune import prune

EXAMPLE = torch.zeros(1, 1, 16)
quick = settings(max_examples=60, deadline=None, derandomize=True)


class Residual(nn.Module):
    """Two convolutions whose outputs are added, between a stem and a head."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv1d(1, 12, 3, padding=1)
        self.branch = nn.Conv1d(12, 12, 3, padding=1)
        self.wide = nn.Conv1d(12, 20, 3, padding=1)
        self.head = nn.Conv1d(20, 3, 1)

    def forward(self, x):
        x = self.stem(x)
        return self.head(self.wide(x + self.branch(x)))


def chain(*widths):
    layers = []
    for one, other in zip((1, *widths), (*widths, 2), strict=True):
        layers += [nn.Conv1d(one, other, 1), nn.ReLU()]
    return nn.Sequential(*layers)


def walked(net, schedule, criterion="l1"):
    sizes = []
    for target in schedule.targets(net, example=EXAMPLE):
        net = prune(net, plan(net, criterion, **target, example=EXAMPLE), example=EXAMPLE)
        sizes.append({name: m.out_channels for name, m in net.named_modules() if isinstance(m, nn.Conv1d)})
    return net, sizes


@quick
@given(ratio=st.floats(0.01, 0.99), steps=st.integers(1, 30), shape=st.sampled_from(SHAPES))
def test_what_is_gone_grows_with_every_step_and_ends_at_the_target(ratio, steps, shape):
    removed = Schedule(ratio, steps=steps, shape=shape).removed(ratio)
    assert len(removed) == steps
    assert removed[-1] == ratio
    assert all(0 < one < other for one, other in pairwise(removed))
    k = np.arange(1, steps + 1) / steps
    reference = {"linear": ratio * k, "geometric": 1 - (1 - ratio) ** k, "cubic": ratio + (0 - ratio) * (1 - k) ** 3}
    np.testing.assert_allclose(removed, reference[shape], rtol=0, atol=1e-12)


@pytest.mark.proof
@quick
@given(
    widths=st.lists(st.integers(12, 40), min_size=1, max_size=3),
    ratio=st.floats(0.3, 0.9),
    steps=st.integers(1, 6),
    shape=st.sampled_from(SHAPES),
)
def test_many_steps_end_with_the_filters_of_one_shot(widths, ratio, steps, shape):
    net = chain(*widths)
    try:
        small, sizes = walked(net, Schedule(ratio, steps=steps, shape=shape))
    except CoppiceError as error:
        assert "would remove no filter at all" in str(error)
        return
    at_once = prune(net, plan(net, "l1", ratios=ratio, example=EXAMPLE), example=EXAMPLE)
    assert [p.shape for p in small.parameters()] == [p.shape for p in at_once.parameters()]
    before = {name: m.out_channels for name, m in net.named_modules() if isinstance(m, nn.Conv1d)}
    for size in sizes:
        assert sum(size.values()) < sum(before.values())
        before = size
    # later layers lose inputs on the way, which changes what l1 says of their filters; the first has one input only
    torch.testing.assert_close(small[0].weight, at_once[0].weight, rtol=0, atol=0)


def test_of_coupled_layers_one_decides_and_all_shrink():
    targets = Schedule(0.5, steps=3).targets(Residual(), example=EXAMPLE)
    assert targets == (
        {"keep": {"stem": 10, "wide": 17}},
        {"keep": {"stem": 8, "wide": 14}},
        {"keep": {"stem": 6, "wide": 10}},
    )
    _, sizes = walked(Residual(), Schedule(0.5, steps=3))
    assert sizes[-1] == {"stem": 6, "branch": 6, "wide": 10, "head": 3}


def test_each_layer_may_have_its_own_ratio():
    targets = Schedule({"wide": 0.5, "stem": 0.25}, steps=2, shape="geometric").targets(Residual(), example=EXAMPLE)
    assert targets == ({"keep": {"stem": 11, "wide": 15}}, {"keep": {"stem": 9, "wide": 10}})


def test_one_ratio_may_be_for_some_layers_only():
    targets = Schedule(0.5, steps=2, layers=("wide",)).targets(Residual(), example=EXAMPLE)
    assert [list(target["keep"]) for target in targets] == [["wide"], ["wide"]]


@quick
@given(
    widths=st.lists(st.integers(8, 40), min_size=1, max_size=3),
    share=st.integers(30, 100),
    steps=st.integers(1, 5),
    shape=st.sampled_from(SHAPES),
)
def test_a_budget_comes_down_step_by_step_to_a_share_of_what_there_was_at_first(widths, share, steps, shape):
    net = chain(*widths)
    cost = profile(net, example=EXAMPLE, latency=False)
    budget = Budget(macs=f"{share}%", params="95%")
    try:
        plan(net, "l1", budget=budget, example=EXAMPLE)
    except CoppiceError:
        return
    targets = Schedule(budget=budget, steps=steps, shape=shape).targets(net, example=EXAMPLE)
    assert len(targets) == steps
    for target in targets:
        net = prune(net, plan(net, "l1", **target, example=EXAMPLE), example=EXAMPLE)
        now = profile(net, example=EXAMPLE, latency=False)
        assert now.macs <= target["budget"].macs
        assert now.params_total <= target["budget"].params
    limits = [target["budget"].macs for target in targets]
    assert limits == sorted(limits, reverse=True)
    assert limits[-1] == int(share * cost.macs // 100)
    assert targets[-1]["budget"].params == int(95 * cost.params_total // 100)


def test_a_budget_that_holds_already_stays_as_it_is():
    targets = Schedule(budget=Budget(macs="50%", bytes="1 MB", latency_ms=5.0, runtime="openvino"), steps=2).targets(
        chain(8), example=EXAMPLE
    )
    assert [target["budget"].bytes for target in targets] == [1_000_000, 1_000_000]
    assert [target["budget"].latency_ms for target in targets] == [None, 5.0]
    assert [target["budget"].runtime for target in targets] == [None, "openvino"]


def test_the_network_is_not_touched():
    net = Residual()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    Schedule(0.5, steps=3).targets(net, example=EXAMPLE)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"ratios": 0}, "ratio for 'all layers' is 0, which removes nothing"),
        ({"ratios": 1.0}, "is 1, which leaves no filter"),
        ({"ratios": -0.1}, "a fraction cannot be negative"),
        ({"ratios": 1.5}, "is 1.5; give a number between 0 and 1"),
        ({"ratios": float("nan")}, "is not a number (NaN)"),
        ({"ratios": "half"}, "is 'half'; give a number between 0 and 1"),
        ({"ratios": {"wide": 2}}, "ratio for 'wide' is 2"),
        ({"ratios": {}}, "ratios names no layer"),
        ({"ratios": {"wide": 0.5}, "layers": ("wide",)}, "leave out layers"),
        ({"steps": 0}, "steps is 0; give a whole number from 1"),
        ({"steps": 2.5}, "steps is 2.5"),
        ({"steps": True}, "steps is True"),
        ({"ratios": None}, "a schedule has one target: give ratios, such as 0.5, or a budget."),
        ({"budget": Budget(macs="50%")}, "a schedule has one target"),
        ({"ratios": None, "budget": "50%"}, "budget is '50%'; give a Budget, such as"),
        ({"ratios": None, "budget": Budget(latency_ms=1)}, "give a bound on one of them, too"),
        ({"ratios": None, "budget": Budget(macs=9, latency_ms="50%")}, "latency_ms is '50%'; give it in ms"),
        ({"shape": "cubik"}, "there is no shape 'cubik' of a schedule. Did you mean 'cubic'?"),
    ],
)
def test_bad_schedules_are_one_sentence(arguments, sentence):
    with pytest.raises(CoppiceError) as error:
        Schedule(**{"ratios": 0.5, "steps": 2, **arguments})
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("schedule", "sentence"),
    [
        (Schedule({"wid": 0.5}, steps=2), "there is no convolution or linear layer 'wid'. Did you mean 'wide'?"),
        (Schedule({"head": 0.5}, steps=2), "'head' cannot be cut: its filters reach the network's output."),
        (Schedule(0.5, steps=2, layers=("hed",)), "Did you mean 'head'?"),
        (Schedule({"stem": 0.5}, steps=7), "step 1 of 7 of the linear schedule would remove no filter at all"),
        (
            Schedule({"stem": 0.5}, steps=5, shape="cubic"),
            "step 4 of 5 of the cubic schedule would remove no filter at all;",
        ),
        (Schedule({"stem": 0.01}, steps=2), "the ratio is too small for a single filter."),
    ],
)
def test_schedules_that_do_not_fit_a_network_are_one_sentence(schedule, sentence):
    with pytest.raises(CoppiceError) as error:
        schedule.targets(Residual(), example=EXAMPLE)
    assert sentence in str(error.value)
