import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coppice.core.errors import CoppiceError
from coppice.ensembles import subsets
from coppice.ensembles.blocks import make_blocks, neighbours_alike
from coppice.ensembles.combination import Combination
from coppice.ensembles.costs import Costs, Piece
from coppice.ensembles.scores import scores_of
from coppice.ensembles.selection import held_out, mask_of, members_in, pareto_front, select
from coppice.ensembles.subsets import score_subsets
from coppice.pruning.planning.budget import Budget


@given(st.integers(1, 5), st.integers(6, 70), st.integers(0, 99), st.integers(3, 64))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_every_subset_scores_as_when_scored_by_itself(members, clips, seed, at_once):
    random = np.random.default_rng(seed)
    values = random.dirichlet(np.ones(3), (members, clips))
    targets = random.permutation(np.arange(clips) % 3)
    blocks = make_blocks(targets, count=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subsets, "_AT_ONCE", at_once)
        table = score_subsets(values, targets, blocks.of)
    for mask in range(1, 2**members):
        mean = values[list(members_in(mask))].mean(axis=0)
        expected = scores_of(mean, targets)
        np.testing.assert_allclose(table.macro_accuracy()[mask], expected.macro_accuracy, atol=1e-12)
        np.testing.assert_allclose(table.log_loss()[mask], expected.log_loss, rtol=1e-12)
        some = blocks.of == 1
        expected = scores_of(mean[some], targets[some])
        np.testing.assert_allclose(table.macro_accuracy([1])[mask], expected.macro_accuracy, atol=1e-12)
        np.testing.assert_allclose(table.log_loss([1])[mask], expected.log_loss, rtol=1e-12)


def test_hard_zeros_are_clipped_as_everywhere():
    members, targets = np.array([[[1.0, 0.0]], [[1.0, 0.0]]]), np.array([1])
    np.testing.assert_allclose(score_subsets(members, targets).log_loss()[1:], -np.log(1e-15), rtol=1e-9)


def test_seventeen_members_have_too_many_subsets():
    with pytest.raises(CoppiceError, match="17 members have 131,071 subsets"):
        score_subsets(np.full((17, 2, 2), 0.5), np.array([0, 1]))


def test_a_choice_keeps_the_budget_on_all_clips_and_without_any_block(drawn):
    members, targets = drawn()
    costs = Costs.plain([{"macs": macs} for macs in (4, 3, 2, 1)])
    found = select(members, targets, make_blocks(targets), costs=costs, budget=Budget(macs=5))
    for chosen in (found.chosen, *found.by_block):
        assert costs.of(mask_of(chosen), "macs") <= 5
    best = max(
        (mask for mask in range(1, 16) if costs.of(mask, "macs") <= 5),
        key=lambda mask: -scores_of(members[list(members_in(mask))].mean(axis=0), targets).log_loss,
    )
    assert mask_of(found.chosen) == best


def test_of_equals_the_cheapest_is_chosen(drawn):
    members, targets = drawn(members=1)
    twins = np.concatenate([members, members, members])
    costs = Costs.plain([{"macs": macs} for macs in (3, 1, 2)])
    for by in ("log_loss", "macro_accuracy"):
        assert select(twins, targets, make_blocks(targets), by=by, costs=costs).chosen == (1,)


def test_more_than_sixteen_members_are_added_one_by_one(drawn):
    members, targets = drawn(members=18)
    costs = Costs.plain([{"macs": 1}] * 18)
    found = select(members, targets, make_blocks(targets, count=2), costs=costs, budget=Budget(macs=3))
    assert found.searched == "members added one by one"
    assert 1 <= len(found.chosen) <= 3
    single = min(scores_of(one, targets).log_loss for one in members)
    assert scores_of(members[list(found.chosen)].mean(axis=0), targets).log_loss <= single
    with pytest.raises(CoppiceError, match="no member keeps the budget"):
        select(members, targets, make_blocks(targets, count=2), costs=costs, budget=Budget(macs=0.5))


def test_what_is_shared_is_paid_once():
    costs = Costs(3, (Piece(0b011, {"macs": 10}), Piece(0b001, {"macs": 1}), Piece(0b010, {"macs": 2}), Piece(0b100, {"macs": 4})))  # fmt: skip  # noqa: E501
    assert costs.table("macs").tolist() == [0, 11, 12, 13, 4, 15, 16, 17]
    assert costs.of(0b111, "macs") == 17


def test_a_budget_in_per_cent_is_of_all_members():
    costs = Costs.plain([{"macs": 6}, {"macs": 3}, {"macs": 1}])
    assert np.flatnonzero(costs.within(Budget(macs="50%"))).tolist() == [0b010, 0b100, 0b110]


@pytest.mark.parametrize(
    ("budget", "sentence"),
    [
        (Budget(macs=2), "no member keeps the budget of macs .2.: the cheapest has 3"),
        (Budget(params=2), "params, which is not known of every member"),
        (Budget(macs=4, bytes=1), "no subset of the members keeps all bounds|the cheapest has 5"),
        (Budget(bytes=9, stored_as="float16"), "leave stored_as and runtime out"),
    ],
)
def test_budgets_that_cannot_be_kept_are_refused(budget, sentence):
    costs = Costs.plain([{"macs": 3, "bytes": 9}, {"macs": 5, "bytes": 5, "params": 1}])
    with pytest.raises(CoppiceError, match=sentence):
        costs.within(budget)


def test_the_front_holds_what_nothing_else_beats():
    random = np.random.default_rng(0)
    value, price = random.random(64), random.integers(1, 20, 64).astype(float)
    value[0], price[0] = 9.0, 0.0
    front = {mask_of(subset) for subset in pareto_front(value, price)}
    for mask in range(1, 64):
        beaten = any(
            price[o] <= price[mask] and value[o] >= value[mask] and (price[o] < price[mask] or value[o] > value[mask])
            for o in range(1, 64)
        )
        assert (mask in front) == (not beaten)


def test_no_recording_stands_in_two_blocks_and_no_class_misses_one():
    random = np.random.default_rng(1)
    targets = np.repeat([0, 1, 2], 40)
    recordings = [f"{label}-{piece}" for label, piece in zip(targets, random.integers(0, 12, 120), strict=True)]
    blocks = make_blocks(targets, count=4, recordings=recordings)
    by_recording: dict[str, set[int]] = {}
    for recording, block in zip(recordings, blocks.of.tolist(), strict=True):
        by_recording.setdefault(recording, set()).add(block)
    assert all(len(found) == 1 for found in by_recording.values())
    assert all(set(blocks.of[targets == label]) == {0, 1, 2, 3} for label in range(3))
    assert blocks.how == "4 blocks of whole recordings"


def test_blocks_of_rows_are_runs_of_neighbours():
    targets = np.array([1, 0, 1, 0, 1, 0, 1, 0])
    blocks = make_blocks(targets, count=2)
    assert blocks.of[targets == 1].tolist() == [0, 0, 1, 1]
    assert blocks.of[targets == 0].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("count", "sentence"), [(1, "number of blocks is 1"), (4, "4 blocks need 4 clips of each class, and one has 3")]
)
def test_impossible_blocks_are_refused(count, sentence):
    with pytest.raises(CoppiceError, match=sentence):
        make_blocks(np.array([0, 0, 0, 1, 1, 1]), count=count)


def test_neighbours_that_are_alike_are_told_from_others():
    random = np.random.default_rng(0)
    alike, targets = np.repeat(random.random(60), 10), np.repeat([0, 1], 300)
    assert neighbours_alike(alike, targets) > 0.8
    assert abs(neighbours_alike(random.permutation(alike), targets)) < 0.1


def test_each_held_out_block_has_the_rule_of_the_others(drawn):
    members, targets = drawn()
    blocks = make_blocks(targets, count=2)
    rules = [Combination.equal(4, [0]), Combination.equal(4, [1])]
    out = held_out(members, blocks, rules)
    for block in (0, 1):
        rows = blocks.of == block
        np.testing.assert_array_equal(out[rows], members[block, rows])
