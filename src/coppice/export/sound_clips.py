"""Real sounds to verify an export with: files and folders as waveforms of the classifier's length."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from coppice.audio.decode import decode
from coppice.audio.front_end import FrontEnd
from coppice.audio.length import fit_length
from coppice.audio.places import sound_files

MOST_CLIPS = 100


def sound_clips(places: Sequence[str | Path], front_end: FrontEnd) -> Float32[Tensor, "clips samples"]:
    """Decode sounds, resample them to the front end's rate and cut or pad them to its length.

    Parameters
    ----------
    places : sequence of str or Path
        Sound files, and folders whose sound files are taken in the order of their names, at most 100 in all.
    front_end : FrontEnd
        Rate, resampler, length and padding.

    Returns
    -------
    Tensor, shape (clips, samples)

    Raises
    ------
    CoppiceError
        If a place does not exist, a folder holds no sounds, or a file cannot be read or is silent.

    Examples
    --------
    >>> import soundfile, tempfile
    >>> from coppice.audio.front_end import front_end
    >>> folder = Path(tempfile.mkdtemp())
    >>> soundfile.write(folder / "a.wav", np.linspace(-0.1, 0.1, 8000), 16000)
    >>> sound_clips([folder], front_end("dcase2021", duration_s=1.0)).shape
    torch.Size([1, 44100])
    """
    files = [file for place in places for file in sound_files(place)]
    waveforms = [
        fit_length(
            decode(file, sample_rate=front_end.sample_rate, resampler=front_end.resampler),
            samples=front_end.samples,
            pad=front_end.pad,
        )
        for file in files[:MOST_CLIPS]
    ]
    return torch.from_numpy(np.stack(waveforms))
