"""Posteriors of a folder of evaluation clips, which have no labels."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from joblib import cpu_count
from torch import Tensor

from coppice.audio.decode import decode
from coppice.audio.front_end import FrontEnd
from coppice.audio.length import fit_length
from coppice.audio.log_mel import log_mel
from coppice.challenge.posteriors import Posteriors
from coppice.challenge.rules import SCENES
from coppice.core.errors import CoppiceError
from coppice.core.files import plain_os_errors
from coppice.core.progress import progress_bar
from coppice.networks.classifier import Classifier

_BATCH = 256


def hear(classifier: Classifier, folder: str | Path) -> Posteriors:
    """Compute the probabilities of the scenes for every WAV file in a folder.

    Parameters
    ----------
    classifier : Classifier
        Of the ten scenes, in any order.
    folder : str or Path
        The ``audio`` folder of an evaluation set.

    Returns
    -------
    Posteriors
        Clips in the order of their numbers where their names are numbers.

    Raises
    ------
    CoppiceError
        If there is no WAV file, one cannot be read, or the classifier knows other classes.
    """
    folder = Path(folder)
    order = scene_order(classifier.labels)
    with plain_os_errors("list", folder):
        files = sorted(folder.glob("*.wav"), key=_by_number)
    if not files:
        raise CoppiceError(f"{folder} holds no .wav file; give the 'audio' folder of the evaluation set.")
    front_end = classifier.known_front_end()
    parts = []
    with ThreadPoolExecutor(cpu_count()) as pool, progress_bar("evaluation clips", len(files)) as advance:
        for start in range(0, len(files), _BATCH):
            batch = files[start : start + _BATCH]
            features = torch.stack(list(pool.map(lambda file: _features(file, front_end), batch)))
            parts.append(classifier.posteriors(features).numpy()[:, order])
            advance(len(batch), "")
    values = np.concatenate(parts)
    if not np.isfinite(values).all():
        raise CoppiceError("the network's output is not a number for some clips; train again.")
    return Posteriors(tuple(file.name for file in files), values, None)


def scene_order(labels: Sequence[str]) -> list[int]:
    """Return where each scene of the task stands among a classifier's labels.

    Raises
    ------
    CoppiceError
        If the labels are not the ten scenes.

    Examples
    --------
    >>> scene_order(SCENES[::-1])
    [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    """
    if sorted(labels) != sorted(SCENES):
        raise CoppiceError(
            f"the classifier knows {', '.join(labels)[:120]}, but the scenes of the task are {', '.join(SCENES)}."
        )
    return [list(labels).index(scene) for scene in SCENES]


def _by_number(file: Path) -> tuple[bool, int, str]:
    return (True, int(file.stem), "") if file.stem.isascii() and file.stem.isdigit() else (False, 0, file.name)


def _features(file: Path, front_end: FrontEnd) -> Tensor:
    waveform = decode(file, sample_rate=front_end.sample_rate, resampler=front_end.resampler)
    return log_mel(fit_length(waveform, samples=front_end.samples, pad=front_end.pad), front_end)
