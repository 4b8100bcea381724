"""Steps of a system: what short forms stand for, and carrying out those that change a network's shape."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from coppice.core.errors import CoppiceError
from coppice.criteria.registry import needs_clips
from coppice.datasets.prepare import Prepared
from coppice.networks.classifier import Classifier
from coppice.networks.new_weights import new_weights
from coppice.pruning.compensation.compensate import compensate
from coppice.pruning.evidence.training_clips import CLIPS, training_clips
from coppice.pruning.plan import PruningPlan
from coppice.pruning.planning.budget import Budget
from coppice.pruning.planning.decide import plan
from coppice.pruning.planning.schedule import Schedule
from coppice.pruning.surgery.dense import shrink_dense
from coppice.pruning.surgery.prune import prune
from coppice.recipes.fitting import Finetune
from coppice.recipes.step import Progressive, Prune, Step, prune_like


@dataclass(frozen=True)
class PlainStep:
    """A prune, dense, reset or finetune step, as it stands in a recipe or as a part of a short form.

    Attributes
    ----------
    name : str
        Such as ``2-prune``, or ``2.3-prune`` for the third cut of a short form; the stage's folder.
    step : Step
        With one of prune, dense, reset and finetune.
    place : str
        Such as ``", step 3 of 5"``, for titles; empty for what stands in the recipe itself.
    """

    name: str
    step: Step
    place: str = ""


def plain_steps(step: Step, number: int, before: Callable[[], Classifier]) -> Iterator[PlainStep]:
    """Write a step out: a progressive or iterative one as its cuts, each with a fit behind it.

    Parameters
    ----------
    step : Step
        As in the recipe.
    number : int >= 1
        Its place in the system.
    before : callable
        Returns the classifier that the step starts from; called for a progressive step only, whose cuts depend on
        how many filters that has.

    Raises
    ------
    CoppiceError
        If a schedule does not fit the network.

    Examples
    --------
    >>> step = Step.model_validate({"iterative": {"criterion": "l1", "ratios": {"conv2": 0.5, "conv3": 0.5}}})
    >>> [plain.name for plain in plain_steps(step, 1, before=lambda: None)]
    ['1.1-prune', '1.1-finetune', '1.2-prune', '1.2-finetune']
    """
    if step.iterative is not None:
        yield from _in_turn(step.iterative.prunes(), step.iterative.finetune, number)
    elif step.progressive is not None:
        yield from _in_turn(_cuts(step.progressive, before()), step.progressive.finetune, number)
    else:
        yield PlainStep(f"{number}-{step.kind}", step)


def _cuts(said: Progressive, before: Classifier) -> list[Prune]:
    """Return the prune steps that a progressive one means for the network it starts from."""
    if said.budget is None:
        layers = None if said.layers is None else tuple(said.layers)
        schedule = Schedule(said.ratios, steps=said.steps, shape=said.shape, layers=layers)
        return [prune_like(said, **target) for target in schedule.targets(before)]
    schedule = Schedule(budget=Budget.from_mapping(said.budget), steps=said.steps, shape=said.shape)
    budgets = [target["budget"] for target in schedule.targets(before)]
    return [prune_like(said, budget=budget.to_mapping(), layers=said.layers) for budget in budgets]


def _in_turn(prunes: list[Prune], finetune: Finetune, number: int) -> Iterator[PlainStep]:
    for turn, prune_ in enumerate(prunes, start=1):
        place = f", step {turn} of {len(prunes)}"
        yield PlainStep(f"{number}.{turn}-prune", Step(prune=prune_), place)
        yield PlainStep(f"{number}.{turn}-finetune", Step(finetune=finetune), place)


def do_step(
    classifier: Classifier, step: Step, *, seed: int, data: Prepared, clips: int = CLIPS
) -> tuple[Classifier, PruningPlan | None]:
    """Carry out a prune, dense or reset step; return the smaller classifier, and the plan of a prune step.

    Parameters
    ----------
    classifier : Classifier
        Left as it is.
    step : Step
        Not a finetune step, which needs clips.
    seed : int
        For criteria and layers that draw random numbers.
    data : Prepared
        For criteria and compensation that look at clips, which are drawn from its training part.
    clips : int
        How many criteria look at; least squares looks at twice as many.

    Raises
    ------
    CoppiceError
        If a layer, criterion or number does not fit the network.
    """
    if step.prune is not None:
        seen, targets = None, None
        if needs_clips(step.prune.criterion):
            seen, targets = training_clips(classifier, data, count=clips, seed=seed)
        wanted = step.prune.model_dump(exclude={"compensate"})
        if step.prune.budget is not None:
            wanted["budget"] = Budget.from_mapping(step.prune.budget)
        decided = plan(classifier, seed=seed, clips=seen, targets=targets, **wanted)
        return _repaired(prune(classifier, decided), classifier, decided, step.prune, data, clips, seed), decided
    if step.dense is not None:
        return shrink_dense(classifier, step.dense.units, seed=seed), None
    if step.reset is not None:
        return new_weights(classifier, seed=seed), None
    raise CoppiceError("a finetune step needs clips.")


def _repaired(
    pruned: Classifier, before: Classifier, decided: PruningPlan, said: Prune, data: Prepared, clips: int, seed: int
) -> Classifier:
    """Compensate a cut as a step says; least squares looks at twice as many clips as criteria do, and gains by it."""
    if said.compensate is None:
        return pruned
    seen = None
    if said.compensate == "least_squares":
        seen, _ = training_clips(before, data, count=2 * clips, seed=seed)
    return compensate(pruned, before, decided, said.compensate, clips=seen)
