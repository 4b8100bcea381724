import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coppice.core.errors import CoppiceError
from coppice.ensembles.blocks import make_blocks
from coppice.ensembles.combination import Combination
from coppice.ensembles.costs import Costs
from coppice.ensembles.design import design
from coppice.ensembles.members import Members
from coppice.ensembles.redundancy import agreement, error_correlation, leave_one_out
from coppice.ensembles.scores import scores_of
from coppice.pruning.planning.budget import Budget


@pytest.fixture
def members(drawn):
    stacked, targets = drawn()
    return Members(("a", "b", "c", "d"), stacked, ("x", "y", "z"), targets)


def test_every_step_is_scored_on_clips_that_did_not_choose(members):
    found = design(members, choose=True, weights="fit", calibrate=True)
    names = [step.name for step in found.steps]
    assert names == [
        "all members, equal weights", "chosen members, equal weights", "fitted weights",
        "fitted weights and temperature",
    ]  # fmt: skip
    blocks = make_blocks(members.targets)
    out = np.empty(members.posteriors.shape[1:])
    for block, rule in enumerate(found.by_block):
        rows = blocks.of == block
        out[rows] = rule(members.posteriors[:, rows])
    assert found.steps[-1].held == scores_of(out, members.targets)
    assert found.steps[0].seen == found.steps[0].held  # nothing is chosen there


def test_held_out_labels_have_no_say(members):
    blocks = make_blocks(members.targets, count=3)
    first = design(members, choose=True, weights="fit", calibrate=True, blocks=blocks)
    spoilt = members.targets.copy()
    spoilt[blocks.of == 1] = (spoilt[blocks.of == 1] + 1) % 3
    other = Members(members.names, members.posteriors, members.labels, spoilt)
    second = design(other, choose=True, weights="fit", calibrate=True, blocks=blocks)
    assert first.by_block[1] == second.by_block[1]
    assert first.by_block[0] != second.by_block[0]


def test_a_design_is_the_same_each_time(members):
    first, second = (design(members, choose=True, weights="fit", calibrate=True).to_dict() for _ in range(2))
    assert json.dumps(first) == json.dumps(second)


def test_only_chosen_members_have_weights(members):
    costs = Costs.plain([{"macs": macs} for macs in (1, 2, 3, 4)])
    found = design(members, choose=True, costs=costs, budget=Budget(macs=5), weights="fit")
    assert sum(costs.of(1 << i, "macs") for i in found.combination.chosen) == found.cost()["macs"] <= 5
    assert found.chosen == tuple(members.names[i] for i in found.selection.chosen)


def test_temperature_alone_leaves_the_weights_equal(members):
    found = design(members, calibrate=True)
    assert found.steps[-1].name == "temperature"
    assert found.combination.weights == (0.25,) * 4 and found.combination.temperature != 1
    assert found.steps[-1].seen.macro_accuracy == found.steps[0].seen.macro_accuracy


@given(st.integers(0, 50))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_matrices_are_those_of_their_definitions(seed):
    random = np.random.default_rng(seed)
    stacked, targets = random.dirichlet(np.ones(3), (3, 60)), random.integers(0, 3, 60)
    decided = stacked.argmax(axis=2)
    found = agreement(stacked)
    for i in range(3):
        for j in range(3):
            assert found[i, j] == (decided[i] == decided[j]).mean()
    np.testing.assert_allclose(error_correlation(stacked, targets), np.corrcoef(decided != targets), atol=1e-12)


def test_a_member_that_is_always_right_correlates_with_nobody():
    right, other = np.tile([0.9, 0.1], (4, 1)), np.array([[0.9, 0.1], [0.1, 0.9]] * 2)
    found = error_correlation(np.stack([right, other]), np.zeros(4, dtype=int))
    assert found.tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_leaving_one_out_is_the_difference_of_the_scores(members):
    blocks = make_blocks(members.targets)
    whole = scores_of(Combination.equal(4)(members.posteriors), members.targets)
    for loss in leave_one_out(members.posteriors, members.targets, blocks):
        others = [index for index in range(4) if index != loss.member]
        scores = scores_of(members.posteriors[others].mean(axis=0), members.targets)
        assert loss.scores.macro_accuracy == pytest.approx(scores.macro_accuracy)
        assert loss.macro_accuracy == pytest.approx(whole.macro_accuracy - scores.macro_accuracy)
        assert loss.log_loss == pytest.approx(scores.log_loss - whole.log_loss)


def test_a_member_that_guesses_adds_nothing_and_that_is_said(drawn):
    stacked, targets = drawn(members=2, clips=3000)
    noise = np.random.default_rng(1).dirichlet(np.full(3, 0.3), (1, 3000))
    members = Members(("one", "other", "noise"), np.concatenate([stacked, noise]), ("x", "y", "z"), targets)
    found = design(members, costs=Costs.plain([{"macs": 1e6}] * 3))
    assert [loss.adds_nothing for loss in found.losses] == [False, False, True]
    assert found.advice()[0].startswith("noise adds 1.0 MMACs and nothing (")


def test_what_goes_with_a_member_is_told_without_what_others_need_too(members):
    from coppice.ensembles.costs import Piece

    pieces = (Piece(0b1111, {"macs": 9e6}), *(Piece(1 << i, {"macs": 1e6}) for i in range(4)))
    found = design(members, costs=Costs(4, pieces))
    assert all(" 1.0 MMACs " in line for line in found.advice()[:4])
    assert found.cost() == {"macs": 13e6}


def test_known_recordings_make_the_blocks_and_end_the_warning(members):
    recordings = [str(index // 2) for index in range(120)]
    targets = np.repeat(np.arange(60) % 3, 2)
    paired = Members(members.names, members.posteriors, members.labels, targets)
    found = design(paired, blocks=make_blocks(targets, recordings=recordings))
    assert found.blocks == "5 blocks of whole recordings"
    assert not any("Neighbouring" in line for line in found.advice())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"weights": "fitted"}, "Did you mean 'fit'"),
        ({"by": "accuracy", "choose": True}, "Did you mean 'macro_accuracy'"),
        ({"how": "harmonic"}, "cannot be combined by 'harmonic'"),
        ({"budget": Budget(macs=3)}, "a budget is for choosing members"),
        ({"budget": Budget(macs=3), "choose": True}, "macs, which is not known of every member"),
    ],
)
def test_options_that_cannot_be_are_refused(options, sentence, members):
    with pytest.raises(CoppiceError, match=sentence):
        design(members, **options)


def test_an_empty_budget_is_refused():
    with pytest.raises(CoppiceError, match="the budget has no bound"):
        Budget()


def test_labels_have_to_be_known(members):
    with pytest.raises(CoppiceError, match="labels of the clips are not known"):
        design(Members(members.names, members.posteriors, members.labels))
