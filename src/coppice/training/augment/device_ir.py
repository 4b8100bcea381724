"""Device impulse responses in a batch: some clips give way to their convolved copies."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class DeviceCopies:
    """Log-mel of training clips as other devices would have recorded them.

    Parameters
    ----------
    log_mel : ndarray of float32, shape (clips with copies × copies, mels, frames)
        The copies of one clip behind one another; may be memory-mapped.
    first : mapping of int to int
        Training clip -> where its copies begin; a clip that is not in it has none.
    copies : int
        Of each of those clips.
    """

    log_mel: Float32[np.ndarray, "stored mels frames"]
    first: Mapping[int, int]
    copies: int


def draw_copies(
    random: np.random.Generator, clips: Int[np.ndarray, " batch"], found: DeviceCopies, *, probability: float
) -> Int[np.ndarray, " batch"]:
    """Draw for each clip of a batch a row of ``found.log_mel``; −1: the clip stays as it is.

    Examples
    --------
    >>> found = DeviceCopies(np.zeros((4, 2, 3), np.float32), {5: 0, 6: 2}, copies=2)
    >>> rows = draw_copies(np.random.default_rng(0), np.array([5, 6, 7]), found, probability=1.0)
    >>> bool(rows[0] in (0, 1)), bool(rows[1] in (2, 3)), int(rows[2])
    (True, True, -1)
    """
    taken = random.random(len(clips)) < probability
    which = random.integers(found.copies, size=len(clips))
    first = np.array([found.first.get(clip, -1) for clip in clips.tolist()], dtype=np.int64)
    return np.where(taken & (first >= 0), first + which, -1)


def with_copies(
    inputs: Float[Tensor, "clips 1 mels frames"],
    copies: Float[Tensor, "some 1 mels frames"],
    rows: Int[np.ndarray, " c"],
) -> Float[Tensor, "clips 1 mels frames"]:
    """Put copies in place of the clips whose row is not −1, in their order.

    Examples
    --------
    >>> with_copies(torch.zeros(3, 1, 1, 1), torch.ones(1, 1, 1, 1), np.array([-1, 7, -1])).flatten().tolist()
    [0.0, 1.0, 0.0]
    """
    replaced = inputs.clone()
    replaced[torch.from_numpy(rows >= 0).to(inputs.device)] = copies.to(inputs.device, inputs.dtype)
    return replaced
