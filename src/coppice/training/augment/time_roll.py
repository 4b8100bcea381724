"""Time roll: a clip begins somewhere else, and what falls off its end comes back at its start."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


def draw_shifts(random: np.random.Generator, clips: int, *, most: int) -> Int[np.ndarray, " clips"]:
    """Draw a shift for each clip, in frames, evenly from −most to most.

    Examples
    --------
    >>> bool(np.abs(draw_shifts(np.random.default_rng(0), 100, most=6)).max() <= 6)
    True
    """
    return random.integers(-most, most, size=clips, endpoint=True)


def time_roll(
    inputs: Float[Tensor, "clips channels mels frames"], shifts: Int[np.ndarray, " clips"]
) -> Float[Tensor, "clips channels mels frames"]:
    """Roll every clip along time by whole frames.

    The CP-JKU baseline of DCASE 2024 rolls waveforms by up to 0.1 s. Rolling the log-mel is the same for shifts of
    whole hops but for the frames whose window reaches over the seam; the features do not have to be computed again.

    Parameters
    ----------
    inputs : Tensor
        Log-mel, normalised or not.
    shifts : ndarray of int, shape (clips,)
        In frames; positive: later.

    Examples
    --------
    >>> time_roll(torch.arange(4.0).reshape(1, 1, 1, 4), np.array([1])).flatten().tolist()
    [3.0, 0.0, 1.0, 2.0]
    """
    frames = inputs.shape[-1]
    back = torch.from_numpy(np.asarray(shifts, dtype=np.int64)).to(inputs.device)
    source = (torch.arange(frames, device=inputs.device) - back[:, None]) % frames
    return inputs.gather(-1, source[:, None, None, :].expand(inputs.shape))
