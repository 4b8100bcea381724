"""Features of clips as other devices would have recorded them, in the feature store like all others."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int

from coppice.audio.front_end import FrontEnd
from coppice.audio.impulse_responses import ImpulseResponses, through_device
from coppice.core.errors import CoppiceError
from coppice.core.seeds import numpy_stream
from coppice.datasets.alteration import Alteration
from coppice.datasets.clips import Dataset
from coppice.datasets.features import load_features


def device_copies(
    dataset: Dataset,
    rows: Int[np.ndarray, " rows"],
    front_end: FrontEnd,
    responses: ImpulseResponses,
    *,
    copies: int,
    seed: int,
    folder: Path | None = None,
) -> Float32[np.ndarray, "stored mels frames"]:
    """Compute the log-mel of clips convolved with impulse responses, or take it from the store.

    Waveforms are convolved, then the features are computed: nothing done to a log-mel picture equals a convolution.
    Each clip gets ``copies`` different responses, drawn from (seed, clip) alone.

    Parameters
    ----------
    dataset : Dataset
        The clips.
    rows : ndarray of int
        Which of them.
    front_end : FrontEnd
        Waveform to log-mel.
    responses : ImpulseResponses
        At least ``copies`` of them.
    copies : int >= 1
        Of each clip.
    seed : int
        Of the draw.
    folder : Path, optional
        See :func:`coppice.datasets.features.load_features`.

    Returns
    -------
    memmap of float32, shape (rows × copies, mels, frames)
        The copies of one clip behind one another.

    Raises
    ------
    CoppiceError
        If there are too few responses, one of them or a clip cannot be read, or the disk refuses.
    """
    enough_responses(responses, copies)
    clips = dataset.clips.iloc[np.repeat(rows, copies)].reset_index(drop=True)
    drawn = np.concatenate([_drawn(len(responses), str(clip), copies, seed) for clip in clips["clip_id"][::copies]])
    clips = clips.assign(clip_id=[f"{clip}#{place % copies}" for place, clip in enumerate(clips["clip_id"])])
    kernels = {
        number: responses.read(number, sample_rate=front_end.sample_rate, resampler=front_end.resampler)
        for number in np.unique(drawn).tolist()
    }

    def alter(row: int, waveform: Float32[np.ndarray, " samples"]) -> Float32[np.ndarray, " samples"]:
        return through_device(waveform, kernels[int(drawn[row])])

    key = {"convolved with": responses.identity(), "drawn": drawn.tolist()}
    named = replace(dataset, clips=clips)
    return load_features(named, front_end, folder=folder, altered=Alteration(key, alter)).array


def enough_responses(responses: ImpulseResponses, copies: int) -> None:
    """Refuse fewer responses than copies of a clip.

    Raises
    ------
    CoppiceError
        If there are too few.
    """
    if copies > len(responses):
        raise CoppiceError(
            f"device_ir.copies is {copies} but {responses.folder} holds {len(responses)} impulse responses; give at "
            f"most {len(responses)}."
        )


def _drawn(responses: int, clip: str, copies: int, seed: int) -> Int[np.ndarray, " copies"]:
    return numpy_stream(seed, "device_ir", clip).choice(responses, size=copies, replace=False)
