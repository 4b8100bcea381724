"""From a sound file to a class: any length, as windows whose posteriors are averaged."""

from dataclasses import dataclass
from pathlib import Path

import torch

from coppice.audio.decode import decode
from coppice.audio.length import fit_length
from coppice.audio.log_mel import log_mel
from coppice.core.errors import CoppiceError
from coppice.networks.classifier import Classifier


@dataclass(frozen=True)
class Classification:
    """What a classifier hears in a file.

    Attributes
    ----------
    file : str
        The file.
    label : str
        The class with the largest mean posterior.
    posteriors : dict
        Class -> mean posterior over the windows, in [0, 1].
    windows : int
        How many windows of the classifier's duration the file gave.
    padded : bool
        Whether the file was shorter than one window and was filled up.
    """

    file: str
    label: str
    posteriors: dict[str, float]
    windows: int
    padded: bool


def classify(classifier: Classifier, file: str | Path) -> Classification:
    """Classify one sound file.

    A file longer than the classifier's clips is cut into windows without overlap, the last of which ends where the
    file ends; a shorter one is filled up as the front end says.

    Parameters
    ----------
    classifier : Classifier
        Left as it is.
    file : str or Path
        WAV, FLAC, OGG or MP3 of any sample rate; several channels are averaged.

    Returns
    -------
    Classification

    Raises
    ------
    CoppiceError
        If the file cannot be read, is silent, or holds values that are not numbers, or if the network's output is
        not a number.
    """
    front_end = classifier.known_front_end()
    waveform = torch.from_numpy(decode(file, sample_rate=front_end.sample_rate, resampler=front_end.resampler))
    samples = front_end.samples
    if len(waveform) <= samples:
        windows = [torch.from_numpy(fit_length(waveform.numpy(), samples=samples, pad=front_end.pad))]
    else:
        starts = [*range(0, len(waveform) - samples, samples), len(waveform) - samples]
        windows = [waveform[start : start + samples] for start in starts]
    features = torch.stack([log_mel(window, front_end) for window in windows])
    mean = classifier.posteriors(features).mean(dim=0)
    if not torch.isfinite(mean).all():
        raise CoppiceError(
            f"the network's output for {file} is not a number; train again with a smaller learning rate."
        )
    return Classification(
        file=str(file),
        label=classifier.labels[int(mean.argmax())],
        posteriors=dict(zip(classifier.labels, mean.tolist(), strict=True)),
        windows=len(windows),
        padded=len(waveform) < samples,
    )
