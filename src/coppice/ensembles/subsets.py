"""The scores of every subset of members at once, on every block of clips."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int

from coppice.core.errors import CoppiceError
from coppice.ensembles.combination import SMALLEST, Stacked

MOST_MEMBERS = 16
_AT_ONCE = 2048  # clips whose sums stay in the processor's cache


@dataclass(frozen=True, eq=False)
class SubsetScores:
    """Right decisions and log-losses of all subsets, summed over segments of clips.

    Attributes
    ----------
    hits, losses : ndarray, shape (2 ** members, classes, blocks)
        By mask: bit i is member i. Mask 0, no member, holds nothing.
    clips : ndarray of int, shape (classes, blocks)
        How many clips each segment has.
    """

    hits: Int[np.ndarray, "subsets classes blocks"]
    losses: Float64[np.ndarray, "subsets classes blocks"]
    clips: Int[np.ndarray, "classes blocks"]

    def macro_accuracy(self, blocks: list[int] | None = None) -> Float64[np.ndarray, " subsets"]:
        """Return the mean over classes of each class' accuracy, on some blocks or all."""
        chosen = slice(None) if blocks is None else blocks
        clips = self.clips[:, chosen].sum(axis=1)
        present = clips > 0
        rates = self.hits[:, :, chosen].sum(axis=2)[:, present] / clips[present]
        return np.asarray(rates.mean(axis=1))

    def log_loss(self, blocks: list[int] | None = None) -> Float64[np.ndarray, " subsets"]:
        """Return the mean log-loss in nats, on some blocks or all; infinite for no member."""
        chosen = slice(None) if blocks is None else blocks
        losses = self.losses[:, :, chosen].sum(axis=(1, 2)) / self.clips[:, chosen].sum()
        losses[0] = np.inf
        return np.asarray(losses)


def score_subsets(
    members: Stacked, targets: Int[np.ndarray, " clips"], blocks: Int[np.ndarray, " clips"] | None = None
) -> SubsetScores:
    """Score the unweighted mean of every subset of up to 16 members.

    Subsets follow one another in Gray-code order, so that each costs one addition; clips come in pieces that fit into
    the cache; and the sums are kept by class and block, so that any choice of blocks is scored without another pass.
    Where the right class ties with another, it counts as right.

    Parameters
    ----------
    members : ndarray, shape (members, clips, classes)
        Posteriors.
    targets : ndarray of int, shape (clips,)
        The right classes.
    blocks : ndarray of int, shape (clips,), optional
        See :class:`coppice.ensembles.blocks.Blocks`.

    Raises
    ------
    CoppiceError
        If there are more than 16 members.

    Examples
    --------
    >>> one, other = np.array([[0.9, 0.1]]), np.array([[0.2, 0.8]])
    >>> score_subsets(np.stack([one, other]), np.array([0])).macro_accuracy().tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    count, clips, classes = members.shape
    if count > MOST_MEMBERS:
        raise CoppiceError(
            f"{count} members have {2**count - 1:,} subsets; all of them are scored up to {MOST_MEMBERS} members."
        )
    blocks = np.zeros(clips, dtype=int) if blocks is None else blocks
    spans = int(blocks.max()) + 1
    segment = targets * spans + blocks
    order = np.argsort(segment, kind="stable")
    hits = np.zeros((2**count, classes * spans), dtype=np.int64)
    losses = np.zeros((2**count, classes * spans))
    for start in range(0, clips, _AT_ONCE):
        rows = order[start : start + _AT_ONCE]
        of, first = np.unique(segment[rows], return_index=True)
        _score_part(members[:, rows].transpose(0, 2, 1).copy(), targets[rows], of, first, hits, losses)
    sizes = np.bincount(segment, minlength=classes * spans)
    held = np.log(np.maximum([mask.bit_count() for mask in range(2**count)], 1))
    losses += held[:, None] * sizes  # what was summed is not divided by the number of members yet
    shape = (2**count, classes, spans)
    return SubsetScores(hits.reshape(shape), losses.reshape(shape), sizes.reshape(shape[1:]))


def _score_part(
    members: Float64[np.ndarray, "members classes clips"],
    targets: Int[np.ndarray, " clips"],
    segments: Int[np.ndarray, " segments"],
    first: Int[np.ndarray, " segments"],
    hits: Int[np.ndarray, "subsets all"],
    losses: Float64[np.ndarray, "subsets all"],
) -> None:
    """Add the hits and losses of some clips, ordered by segment, for every subset."""
    count, classes, clips = members.shape
    right = members[:, targets, np.arange(clips)]
    total, of_right = np.zeros((classes, clips)), np.zeros(clips)
    best, logs, is_right = np.empty(clips), np.empty(clips), np.empty(clips, dtype=bool)
    mask = 0
    for step in range(1, 2**count):
        member = (step & -step).bit_length() - 1  # the bit that differs from the Gray code before
        mask ^= 1 << member
        change = np.add if mask >> member & 1 else np.subtract
        change(total, members[member], out=total)
        change(of_right, right[member], out=of_right)
        np.max(total, axis=0, out=best)
        np.greater_equal(of_right, best, out=is_right)
        np.maximum(of_right, SMALLEST * mask.bit_count(), out=logs)
        np.log(logs, out=logs)
        hits[mask, segments] += np.add.reduceat(is_right, first, dtype=np.int64)
        losses[mask, segments] -= np.add.reduceat(logs, first)
