import pytest
import torch

import coppice as cp
from coppice.core.errors import CoppiceError
from coppice.criteria.nystrom import nystrom, nystrom_spread
from coppice.criteria.operator_norm import operator_norm
from coppice.criteria.registry import _CRITERIA, needs_clips, rank
from coppice.networks.dcase2021 import DCASE2021


@pytest.fixture
def weight():
    return torch.randn(8, 3, 3, 3, dtype=torch.float64)


def test_options_in_brackets_reach_the_criterion(weight):
    assert rank(weight, "nystrom(m=4)") == nystrom(weight, m=4)
    assert rank(weight, "nystrom(m=4, k=2)") == nystrom(weight, m=4, k=2)
    assert rank(weight, "nystrom( m=3,columns='spread' )") == nystrom(weight, m=3, columns="spread")
    assert rank(weight, "nystrom_spread(m=3)") == nystrom_spread(weight, m=3)
    assert rank(weight, "operator_norm(orientation=none)") == operator_norm(weight, orientation="none")
    assert not needs_clips("nystrom(m=4)")


def test_own_criteria_have_options_too(weight):
    @cp.criterion("of_one_filter")
    def of_one_filter(weight, *, share=0.5):
        return cp.criteria.Ranking.from_scores("of_one_filter", weight.flatten(1).abs().sum(1) ** share)

    try:
        assert rank(weight, "of_one_filter(share=-1)").order == rank(weight, "l1").order[::-1]
    finally:
        del _CRITERIA["of_one_filter"]


def test_a_plan_keeps_the_options_in_the_name_of_its_criterion():
    net = DCASE2021(widths=(4, 4, 6), dense=5, classes=3, frames=100)
    decided = cp.plan(net, "nystrom(m=2)", keep={"conv2": 2}, example=torch.zeros(1, 1, 40, 100))
    assert decided.criterion == "nystrom(m=2)"
    assert decided.keep("conv2") == nystrom(net.conv2.weight, m=2).keep_count(2)


@pytest.mark.parametrize(
    ("criterion", "said"),
    [
        ("nystrom(m=9)", "m is 9; give a whole number from 1 to 8."),
        ("nystrom(m=2.5)", "m is 2.5; give a whole number from 1 to 8."),
        ("nystrom(m=4, k=5)", "k is 5; give a whole number from 1 to 4."),
        ("nystrom(colums=first)", "criterion 'nystrom' has no option 'colums'. Did you mean 'columns'?"),
        ("nystrom(columns=random)", "columns is 'random'. Known: 'first', 'spread'."),
        ("random(seed=3)", "criterion 'random' has no option 'seed'. It has none: leave out the brackets."),
        ("l1(weight=3)", "criterion 'l1' has no option 'weight'. It has none: leave out the brackets."),
        ("nystron(m=4)", "there is no criterion 'nystron'. Did you mean 'nystrom'?"),
        ("nystrom(m=4, m=5)", "criterion 'nystrom(m=4, m=5)' gives 'm' twice; give each option once."),
        *(
            (text, f"criterion {text!r} cannot be read; write options like nystrom(m=4, columns=spread).")
            for text in ("nystrom()", "nystrom(m)", "nystrom(m=)", "nystrom(m=4", "nystrom(m=4)x", "(m=4)")
        ),
    ],
)
def test_what_cannot_be_an_option_is_refused_in_a_sentence(weight, criterion, said):
    with pytest.raises(CoppiceError) as refused:
        rank(weight, criterion)
    assert str(refused.value) == said
