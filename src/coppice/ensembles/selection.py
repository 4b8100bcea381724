"""Which members to keep under a budget: chosen on some blocks of clips, scored on the others."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int

from coppice.core.errors import CoppiceError
from coppice.ensembles.blocks import Blocks
from coppice.ensembles.combination import Combination, Stacked
from coppice.ensembles.costs import Costs
from coppice.ensembles.scores import check_by, scores_of
from coppice.ensembles.subsets import MOST_MEMBERS, SubsetScores, score_subsets
from coppice.pruning.planning.budget import Budget


@dataclass(frozen=True, eq=False)
class Selection:
    """Chosen members.

    Attributes
    ----------
    chosen : tuple of int
        Members chosen on all clips.
    by_block : tuple of tuple of int
        For each block, the members chosen on the other blocks: with what the block is to be scored.
    searched : str
        How, in words.
    front : tuple of tuple of int
        The subsets that no other one beats in cost and score on all clips, cheapest first; where all were searched and
        costs are known.
    """

    chosen: tuple[int, ...]
    by_block: tuple[tuple[int, ...], ...]
    searched: str
    front: tuple[tuple[int, ...], ...] = ()


def select(
    members: Stacked,
    targets: Int[np.ndarray, " clips"],
    blocks: Blocks,
    *,
    by: str = "log_loss",
    costs: Costs | None = None,
    budget: Budget | None = None,
) -> Selection:
    """Choose the members whose unweighted mean of posteriors scores best under a budget.

    Up to 16 members, all subsets are scored (:func:`coppice.ensembles.subsets.score_subsets`); of more, members are
    added one by one, each time the one that helps most, until none helps or fits. Done once on all clips, and once
    for each block on all others. Of subsets that score alike, the cheapest is chosen.

    Parameters
    ----------
    members : ndarray, shape (members, clips, classes)
        Posteriors on validation clips.
    targets : ndarray of int, shape (clips,)
        The right classes.
    blocks : Blocks
        From :func:`coppice.ensembles.blocks.make_blocks`.
    by : {"log_loss", "macro_accuracy"}
        What is best.
    costs : Costs, optional
        Of the members; needed for a budget.
    budget : Budget, optional
        Upper bounds for the ensemble.

    Raises
    ------
    CoppiceError
        If a bounded cost is not known, or nothing keeps the budget.

    Examples
    --------
    >>> from coppice.ensembles.blocks import make_blocks
    >>> targets = np.zeros(4, dtype=int)
    >>> good, poor = np.tile([0.9, 0.1], (4, 1)), np.tile([0.2, 0.8], (4, 1))
    >>> select(np.stack([good, poor]), targets, make_blocks(targets, count=2)).chosen
    (0,)
    """
    check_by(by)
    costs = costs or Costs.plain([{}] * len(members))
    budget_kind = next(iter(budget.bounds)) if budget is not None else next(iter(costs.kinds()), None)
    if len(members) > MOST_MEMBERS:
        return _greedily(members, targets, blocks, by, costs, budget, budget_kind)
    table = score_subsets(members, targets, blocks.of)
    allowed = costs.within(budget) if budget is not None else np.arange(2 ** len(members)) > 0
    price = costs.table(budget_kind) if budget_kind else _sizes(len(members))
    every = list(range(blocks.count))
    chosen = _best(_value(table, by, None), allowed, price)
    others = [_best(_value(table, by, [b for b in every if b != block]), allowed, price) for block in every]
    front = pareto_front(_value(table, by, None), price) if budget_kind else ()
    return Selection(
        members_in(chosen), tuple(map(members_in, others)), f"all {2 ** len(members) - 1:,} subsets", front
    )


def pareto_front(
    value: Float64[np.ndarray, " subsets"], price: Float64[np.ndarray, " subsets"]
) -> tuple[tuple[int, ...], ...]:
    """Return the subsets that cost less than any that is as good, cheapest first.

    Parameters
    ----------
    value, price : ndarray, shape (subsets,)
        By mask; a higher value is better. Mask 0, no member, is left out.

    Examples
    --------
    >>> pareto_front(np.array([0, 0.5, 0.4, 0.6]), np.array([0, 1.0, 2.0, 3.0]))
    ((0,), (0, 1))
    """
    front, best = [], -np.inf
    for mask in np.lexsort((-value, price)):
        if mask and value[mask] > best:
            front.append(members_in(int(mask)))
            best = value[mask]
    return tuple(front)


def held_out(members: Stacked, blocks: Blocks, rules: Sequence[Combination]) -> Float64[np.ndarray, "clips classes"]:
    """Return posteriors in which each block has the rule that was made on the others."""
    out = np.empty(members.shape[1:])
    for block, rule in enumerate(rules):
        rows = blocks.of == block
        out[rows] = rule(members[:, rows])
    return out


def members_in(mask: int) -> tuple[int, ...]:
    """Return the members of a mask.

    Examples
    --------
    >>> members_in(0b1010)
    (1, 3)
    """
    return tuple(index for index in range(mask.bit_length()) if mask >> index & 1)


def mask_of(members: Sequence[int]) -> int:
    """Return the mask of members.

    Examples
    --------
    >>> mask_of((1, 3)) == 0b1010
    True
    """
    return sum(1 << index for index in members)


def _value(table: SubsetScores, by: str, blocks: list[int] | None) -> Float64[np.ndarray, " subsets"]:
    return -table.log_loss(blocks) if by == "log_loss" else table.macro_accuracy(blocks)


def _best(
    value: Float64[np.ndarray, " subsets"],
    allowed: Bool[np.ndarray, " subsets"],
    price: Float64[np.ndarray, " subsets"],
) -> int:
    top = value[allowed].max()
    equal = np.flatnonzero(allowed & (value >= top - 1e-12))
    return int(equal[price[equal].argmin()])


def _sizes(members: int) -> Float64[np.ndarray, " subsets"]:
    return np.array([mask.bit_count() for mask in range(2**members)], dtype=np.float64)


def _greedily(
    members: Stacked,
    targets: Int[np.ndarray, " clips"],
    blocks: Blocks,
    by: str,
    costs: Costs,
    budget: Budget | None,
    kind: str | None,
) -> Selection:
    limits = {name: costs.limit(budget, name) for name in budget.bounds} if budget is not None else {}

    def fits(chosen: Sequence[int]) -> bool:
        return all(costs.of(mask_of(chosen), name) <= limit for name, limit in limits.items())

    def best_on(rows: Bool[np.ndarray, " clips"]) -> tuple[int, ...]:
        some, right = members[:, rows], targets[rows]
        chosen: list[int] = []
        reached = -np.inf
        while True:
            options = [i for i in range(len(members)) if i not in chosen and fits([*chosen, i])]
            values = []
            for option in options:
                scores = scores_of(Combination.equal(len(members), [*chosen, option])(some), right)
                values.append(-scores.log_loss if by == "log_loss" else scores.macro_accuracy)
            if not options or max(values) <= reached:
                break
            reached = max(values)
            chosen.append(options[values.index(reached)])
        if not chosen:
            raise CoppiceError(f"no member keeps the budget ({', '.join(limits)}); loosen it.")
        return tuple(sorted(chosen))

    every = np.ones(len(targets), dtype=bool)
    return Selection(best_on(every), tuple(best_on(seen) for seen, _ in blocks.sides()), "members added one by one")
