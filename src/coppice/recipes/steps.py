"""One step of a system that changes a network's shape: prune, or shrink a dense layer."""

from coppice.core.errors import CoppiceError
from coppice.networks.classifier import Classifier
from coppice.pruning.dense import shrink_dense
from coppice.pruning.plan import PruningPlan
from coppice.pruning.planning import plan
from coppice.pruning.surgery import prune
from coppice.recipes.recipe import Step


def do_step(classifier: Classifier, step: Step, *, seed: int) -> tuple[Classifier, PruningPlan | None]:
    """Carry out a prune or dense step; return the smaller classifier, and the plan of a prune step.

    Parameters
    ----------
    classifier : Classifier
        Left as it is.
    step : Step
        Not a finetune step, which needs clips.
    seed : int
        For criteria and layers that draw random numbers.

    Raises
    ------
    CoppiceError
        If a layer, criterion or number does not fit the network.
    """
    if step.prune is not None:
        decided = plan(classifier, seed=seed, **step.prune.model_dump())
        return prune(classifier, decided), decided
    if step.dense is not None:
        return shrink_dense(classifier, step.dense.units, seed=seed), None
    raise CoppiceError("a finetune step needs clips.")
