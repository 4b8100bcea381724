"""How much members say the same, and what is lost without each of them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int

from coppice.ensembles.blocks import Blocks
from coppice.ensembles.combination import Combination, Stacked
from coppice.ensembles.scores import Scores, scores_of
from coppice.evaluation.metrics import log_losses

Matrix = Float64[np.ndarray, "members members"]


def agreement(members: Stacked) -> Matrix:
    """Return on which share of the clips each two members decide alike, 0 to 1.

    Examples
    --------
    >>> agreement(np.array([[[0.9, 0.1], [0.9, 0.1]], [[0.6, 0.4], [0.2, 0.8]]])).tolist()
    [[1.0, 0.5], [0.5, 1.0]]
    """
    decided = members.argmax(axis=2)
    return np.array([[float((one == other).mean()) for other in decided] for one in decided])


def error_correlation(members: Stacked, targets: Int[np.ndarray, " clips"]) -> Matrix:
    """Return how much each two members err on the same clips, -1 to 1: the lower, the more they add to one another.

    Pearson's correlation of the indicators of an error (for two of them the phi coefficient); 0 with a member that
    always or never errs, 1 with itself.

    Examples
    --------
    >>> one, other = [[0.9, 0.1], [0.9, 0.1]], [[0.2, 0.8], [0.2, 0.8]]
    >>> error_correlation(np.array([one, other]), np.array([0, 1])).round(2).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    wrong = (members.argmax(axis=2) != targets).astype(np.float64)
    off = wrong - wrong.mean(axis=1, keepdims=True)
    norms = np.sqrt((off**2).sum(axis=1))
    scale = np.outer(norms, norms)
    found = np.divide(off @ off.T, scale, out=np.zeros_like(scale), where=scale > 0)
    np.fill_diagonal(found, 1.0)
    return np.asarray(found)


@dataclass(frozen=True)
class Loss:
    """What is lost without a member, or won where a number is negative.

    Attributes
    ----------
    member : int
        Which one is left out.
    scores : Scores
        Of the others.
    macro_accuracy, log_loss : float
        What the member adds: accuracy with it minus without it, log-loss without it minus with it.
    macro_accuracy_error, log_loss_error : float
        Standard errors of these, from block to block.
    """

    member: int
    scores: Scores
    macro_accuracy: float
    log_loss: float
    macro_accuracy_error: float
    log_loss_error: float

    @property
    def adds_nothing(self) -> bool:
        """Whether neither score is better with the member by more than twice its standard error."""
        return self.macro_accuracy <= 2 * self.macro_accuracy_error and self.log_loss <= 2 * self.log_loss_error


def leave_one_out(
    members: Stacked, targets: Int[np.ndarray, " clips"], blocks: Blocks, *, how: str = "arithmetic"
) -> list[Loss]:
    """Score the mean of all members but one, for each of them.

    Differences are taken on the same clips, block by block, so that their standard error is that of the difference and
    not that of the scores.

    Parameters
    ----------
    members : ndarray, shape (members, clips, classes)
        Two members or more.
    targets : ndarray of int, shape (clips,)
        The right classes.
    blocks : Blocks
        On which the differences are compared.
    how : {"arithmetic", "geometric"}
        Kind of mean.

    Examples
    --------
    >>> from coppice.ensembles.blocks import make_blocks
    >>> targets = np.zeros(4, dtype=int)
    >>> good, poor = np.tile([0.9, 0.1], (4, 1)), np.tile([0.2, 0.8], (4, 1))
    >>> left = leave_one_out(np.stack([good, poor]), targets, make_blocks(targets, count=2))
    >>> [round(loss.log_loss, 2) for loss in left]
    [1.01, -0.49]
    """
    everyone = list(range(len(members)))
    whole = Combination.equal(len(members), how=how)(members)
    found = []
    for member in everyone:
        others = Combination.equal(len(members), [i for i in everyone if i != member], how=how)(members)
        won = log_losses(others, targets) - log_losses(whole, targets)
        right = (whole.argmax(axis=1) == targets).astype(float) - (others.argmax(axis=1) == targets)
        scores, all_scores = scores_of(others, targets), scores_of(whole, targets)
        found.append(
            Loss(
                member,
                scores,
                all_scores.macro_accuracy - scores.macro_accuracy,
                scores.log_loss - all_scores.log_loss,
                _error(right, blocks),
                _error(won, blocks),
            )
        )
    return found


def _error(differences: Float64[np.ndarray, " clips"], blocks: Blocks) -> float:
    """Return the standard error of a mean from the means of the blocks."""
    means = [float(differences[blocks.of == block].mean()) for block in range(blocks.count)]
    return float(np.std(means, ddof=1) / np.sqrt(blocks.count))
