"""SpecAugment: bands and frames that a clip loses (Park et al., Interspeech 2019)."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor


def draw_masks(
    random: np.random.Generator, clips: int, *, size: int, masks: int, most: int
) -> Bool[np.ndarray, "clips size"]:
    """Draw stretches of an axis to mask, for each clip its own.

    A stretch is drawn as ``torchaudio.transforms.FrequencyMasking(most, iid_masks=True)`` draws it: a width below
    ``most``, and a start that lets it end within the axis, both evenly and rounded down.

    Parameters
    ----------
    random : Generator
        Where the numbers come from.
    clips : int
        How many.
    size : int
        Length of the axis: bands or frames.
    masks : int
        Stretches for each clip; they may overlap.
    most : int
        Bound of a stretch's width, at most ``size``.

    Returns
    -------
    ndarray of bool, shape (clips, size)
        True: masked.

    Examples
    --------
    >>> mask = draw_masks(np.random.default_rng(0), 50, size=40, masks=1, most=8)
    >>> mask.shape, bool(mask.sum(axis=1).max() < 8)
    ((50, 40), True)
    """
    width = random.random((clips, masks)) * most
    start = random.random((clips, masks)) * (size - width)
    first, last = start.astype(np.int64), start.astype(np.int64) + width.astype(np.int64)
    place = np.arange(size)
    inside = (place >= first[..., None]) & (place < last[..., None])
    return np.asarray(inside.any(axis=1))


def spec_augment(
    inputs: Float[Tensor, "clips channels mels frames"],
    *,
    bands: Bool[np.ndarray, "clips mels"],
    frames: Bool[np.ndarray, "clips frames"],
    fill: Float[Tensor, " mels"],
) -> Float[Tensor, "clips channels mels frames"]:
    """Put silence in place of masked bands and frames.

    Where the fill is the front end's value of silence, this equals setting the mel energies to 0 before the logarithm,
    as the CP-JKU baseline of DCASE 2024 does.

    Parameters
    ----------
    inputs : Tensor
        Log-mel, normalised or not.
    bands, frames : ndarray of bool
        What is masked, see :func:`draw_masks`.
    fill : Tensor, shape (mels,)
        What stands in a masked band, in the unit of the inputs.

    Examples
    --------
    >>> masks = {"bands": np.array([[True, False]]), "frames": np.array([[False, False, True]])}
    >>> spec_augment(torch.ones(1, 1, 2, 3), **masks, fill=torch.tensor([-5.0, -6.0]))[0, 0]
    tensor([[-5., -5., -5.],
            [ 1.,  1., -6.]])
    """
    masked = torch.from_numpy(bands[:, :, None] | frames[:, None, :]).to(inputs.device)[:, None]
    return torch.where(masked, fill.to(inputs.device, inputs.dtype)[:, None], inputs)
