"""Design an ensemble from posteriors: members, weights, temperature, each scored on clips that did not choose it."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.ensembles.advice import advice
from coppice.ensembles.blocks import Blocks, make_blocks, neighbours_alike
from coppice.ensembles.combination import Combination, Stacked
from coppice.ensembles.costs import Costs
from coppice.ensembles.fitting import STRENGTH, fit_combination
from coppice.ensembles.members import Members
from coppice.ensembles.redundancy import Loss, Matrix, agreement, error_correlation, leave_one_out
from coppice.ensembles.scores import Scores, scores_of
from coppice.ensembles.selection import Selection, held_out, mask_of, select
from coppice.evaluation.metrics import log_losses
from coppice.pruning.planning.budget import Budget

WEIGHTS = ("equal", "fit")


@dataclass(frozen=True)
class Step:
    """The scores of a design up to one of its steps.

    Attributes
    ----------
    name : str
        ``"all members, equal"``, ``"chosen members"``, ``"fitted weights"``, ``"temperature"``.
    seen : Scores
        On the clips that it was chosen on: too good where something was chosen.
    held : Scores
        Each block of clips scored with what was chosen on the others.
    """

    name: str
    seen: Scores
    held: Scores


@dataclass(frozen=True, eq=False)
class Design:
    """An ensemble, and what is known of it.

    Attributes
    ----------
    names : tuple of str
        Of all members.
    combination : Combination
        What came out, made on all clips; members that were not chosen have the weight 0.
    by_block : tuple of Combination
        What came out on all blocks but one, for each block.
    steps : tuple of Step
        What each step brought.
    singles : tuple of Scores
        Of each member alone.
    agreement, error_correlation : ndarray, shape (members, members)
    losses : tuple of Loss
        What is lost without each member, of the mean of all.
    selection : Selection or None
        Where members were chosen.
    costs : Costs or None
    blocks : str
        How clips were divided.
    alike : float
        Correlation of the log-losses of neighbouring rows (:func:`coppice.ensembles.blocks.neighbours_alike`).
    """

    names: tuple[str, ...]
    combination: Combination
    by_block: tuple[Combination, ...]
    steps: tuple[Step, ...]
    singles: tuple[Scores, ...]
    agreement: Matrix
    error_correlation: Matrix
    losses: tuple[Loss, ...]
    selection: Selection | None
    costs: Costs | None
    blocks: str
    alike: float

    @property
    def chosen(self) -> tuple[str, ...]:
        """Names of the members that have a weight."""
        return tuple(self.names[index] for index in self.combination.chosen)

    def cost(self) -> dict[str, float]:
        """Return what the ensemble costs, as far as that is known; what is shared counts once."""
        if self.costs is None:
            return {}
        return {kind: self.costs.of(mask_of(self.combination.chosen), kind) for kind in self.costs.kinds()}

    def advice(self) -> list[str]:
        """Say in words what each member adds, and what the numbers cannot show."""
        lines = advice(self.names, self.losses, self.costs)
        if "recordings" not in self.blocks and self.alike < 0.05:
            lines.append(
                f"Neighbouring rows are not alike (their log-losses correlate at {self.alike:.3f}): they do not stand "
                "in the order of recordings, so that blocks of rows do not keep recordings apart, and scores on "
                "held-out blocks are a little too good. Name the recordings if you know them."
            )
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-able data."""
        return {
            "members": [
                {"name": name, **asdict(alone), **self._cost_of(index)}
                for index, (name, alone) in enumerate(zip(self.names, self.singles, strict=True))
            ],
            "agreement": self.agreement.tolist(),
            "error_correlation": self.error_correlation.tolist(),
            "leave_one_out": [{**asdict(loss), "adds_nothing": loss.adds_nothing} for loss in self.losses],
            "chosen": list(self.chosen),
            "how": self.combination.how,
            "weights": list(self.combination.weights),
            "temperature": self.combination.temperature,
            "cost": self.cost(),
            "steps": [asdict(step) for step in self.steps],
            "blocks": self.blocks,
            "chosen_by_block": [[self.names[index] for index in rule.chosen] for rule in self.by_block],
            "front": [[self.names[i] for i in subset] for subset in (self.selection.front if self.selection else ())],
            "advice": self.advice(),
        }

    def _cost_of(self, index: int) -> dict[str, float]:
        return {kind: self.costs.of(1 << index, kind) for kind in self.costs.kinds()} if self.costs else {}


def design(
    members: Members,
    *,
    how: str = "arithmetic",
    choose: bool = False,
    by: str = "log_loss",
    costs: Costs | None = None,
    budget: Budget | None = None,
    weights: str = "equal",
    calibrate: bool = False,
    strength: float = STRENGTH,
    blocks: Blocks | None = None,
) -> Design:
    """Combine members, and say what each step brings on clips that had no say in it.

    Parameters
    ----------
    members : Members
        Posteriors and right classes on validation clips. On the clips of a test, whatever is chosen here would be
        chosen by the test.
    how : {"arithmetic", "geometric"}
        Mean of the posteriors, or of their logarithms.
    choose : bool
        Whether to choose among the members (:func:`coppice.ensembles.selection.select`, by their arithmetic mean).
    by : {"log_loss", "macro_accuracy"}
        What they are chosen by.
    costs : Costs, optional
        What members cost.
    budget : Budget, optional
        Upper bounds for the ensemble; with ``choose``.
    weights : {"equal", "fit"}
        Fitted for the lowest log-loss (:func:`coppice.ensembles.fitting.fit_combination`).
    calibrate : bool
        Whether to fit a temperature, jointly with the weights if these are fitted.
    strength : float >= 0
        How strongly fitted weights are held equal.
    blocks : Blocks, optional
        Five blocks of neighbouring rows of each class if not given.

    Returns
    -------
    Design

    Raises
    ------
    CoppiceError
        If the right classes are not known, or an option cannot be.

    Examples
    --------
    >>> from coppice.ensembles.members import gather
    >>> good, poor = np.tile([[0.9, 0.1], [0.2, 0.8]], (10, 1)), np.tile([[0.6, 0.4], [0.6, 0.4]], (10, 1))
    >>> found = design(gather({"good": good, "poor": poor}, truth=[0, 1] * 10), choose=True)
    >>> found.chosen, found.steps[-1].held.macro_accuracy
    (('good',), 1.0)
    """
    if weights not in WEIGHTS:
        raise CoppiceError(f"there are no weights {weights!r}. {did_you_mean(str(weights), WEIGHTS)}")
    if budget is not None and not choose:
        raise CoppiceError("a budget is for choosing members; ask for that, too, or leave the budget out.")
    targets, stacked = members.known_targets(), members.posteriors
    blocks = blocks or make_blocks(targets)
    everyone = tuple(range(len(stacked)))
    losses = leave_one_out(stacked, targets, blocks, how=how)
    mean = Combination.equal(len(stacked), how=how)
    steps, rules = [], [mean] * blocks.count
    steps.append(_step("all members, equal weights", stacked, targets, blocks, mean, rules))
    selection = select(stacked, targets, blocks, by=by, costs=costs, budget=budget) if choose else None
    chosen = selection.chosen if selection else everyone
    by_block = selection.by_block if selection else (everyone,) * blocks.count
    rule = Combination.equal(len(stacked), chosen, how=how)
    if selection:
        rules = [Combination.equal(len(stacked), some, how=how) for some in by_block]
        steps.append(_step("chosen members, equal weights", stacked, targets, blocks, rule, rules))
    for name, wanted, options in (
        ("fitted weights", weights == "fit", {"weights": True}),
        (
            "fitted weights and temperature" if weights == "fit" else "temperature",
            calibrate,
            {"weights": weights == "fit", "temperature": True},
        ),
    ):
        if wanted:
            fit = {"how": how, "strength": strength, **options}
            rule = _fitted(stacked, targets, chosen, **fit)
            sides = zip(by_block, blocks.sides(), strict=True)
            rules = [_fitted(stacked[:, seen], targets[seen], some, **fit) for some, (seen, _) in sides]
            steps.append(_step(name, stacked, targets, blocks, rule, rules))
    return Design(
        names=members.names,
        combination=rule,
        by_block=tuple(rules),
        steps=tuple(steps),
        singles=tuple(scores_of(one, targets) for one in stacked),
        agreement=agreement(stacked),
        error_correlation=error_correlation(stacked, targets),
        losses=tuple(losses),
        selection=selection,
        costs=costs,
        blocks=blocks.how,
        alike=neighbours_alike(log_losses(mean(stacked), targets), targets),
    )


def _step(
    name: str,
    stacked: Stacked,
    targets: Int[np.ndarray, " clips"],
    blocks: Blocks,
    rule: Combination,
    rules: list[Combination],
) -> Step:
    return Step(name, scores_of(rule(stacked), targets), scores_of(held_out(stacked, blocks, rules), targets))


def _fitted(
    stacked: Float64[np.ndarray, "members clips classes"],
    targets: Int[np.ndarray, " clips"],
    chosen: tuple[int, ...],
    **how: Any,
) -> Combination:
    """Fit the chosen members; the others get no weight."""
    found = fit_combination(stacked[list(chosen)], targets, **how)
    weights = np.zeros(len(stacked))
    weights[list(chosen)] = found.weights
    return Combination(tuple(weights.tolist()), how=found.how, temperature=found.temperature)
