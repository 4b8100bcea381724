"""From a sound file to a class: any length, as windows whose posteriors are averaged."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from coppice.audio.clip_stream import Clip, ClipStream
from coppice.audio.decode import decode_blocks, probe
from coppice.core.errors import CoppiceError
from coppice.evaluation.hears import Hears

# So many windows are heard at a time that they take some 16 MB.
_BATCH_SAMPLES = 1 << 22
_BATCH_WINDOWS = 64


@dataclass(frozen=True)
class Window:
    """What a classifier hears in one window of a file.

    Attributes
    ----------
    start_s, end_s : float
        Where the window lies, in seconds.
    label : str
        The class with the largest posterior.
    posteriors : dict
        Class -> posterior, in [0, 1].
    """

    start_s: float
    end_s: float
    label: str
    posteriors: dict[str, float]


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
    seconds : float
        How long the file is.
    remarks : tuple of str
        What was done to the sound, and what is wrong with it: resampled, filled up, clipped, silent, not numbers.
    per_window : tuple of Window
        What is heard in each window, where that was asked for.
    """

    file: str
    label: str
    posteriors: dict[str, float]
    windows: int
    padded: bool
    seconds: float
    remarks: tuple[str, ...] = ()
    per_window: tuple[Window, ...] = ()


def classify(
    classifier: Hears,
    file: str | Path,
    *,
    hop_s: float | None = None,
    per_window: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Classification:
    """Classify one sound file of any length.

    A file longer than the classifier's clips is heard in windows, one every ``hop_s`` and a last one that ends where
    the file ends; a shorter one is filled up as the front end says. The file is decoded piece by piece: memory does
    not grow with its length.

    Parameters
    ----------
    classifier : Classifier or OnnxClassifier
        Left as it is.
    file : str or Path
        WAV, FLAC, OGG or MP3 of any sample rate; several channels are averaged. Samples that are not numbers are
        taken as 0.
    hop_s : float, optional
        Seconds from the start of one window to that of the next, up to the length of a clip, which it is if not given.
    per_window : bool
        Whether to keep what is heard in each window, too.
    progress : callable, optional
        Is told how many more seconds of the file were heard, time and again.

    Returns
    -------
    Classification

    Raises
    ------
    CoppiceError
        If the file cannot be read, the hop cannot be, the classifier's front end is not known, or the network's
        output is not a number.

    Examples
    --------
    >>> import soundfile, tempfile
    >>> from coppice.audio.front_end import front_end
    >>> from coppice.networks.classifier import Classifier
    >>> from coppice.networks.dcase2021 import DCASE2021
    >>> ear, bands = front_end("dcase2021", duration_s=1.0), (torch.zeros(40), torch.ones(40))
    >>> one = Classifier(DCASE2021(widths=(2, 2, 2), frames=50), ear, tuple("abcdefghij"), *bands)
    >>> file = Path(tempfile.mkdtemp()) / "tone.wav"
    >>> soundfile.write(file, torch.linspace(0, 60, 20_000).sin().numpy() / 4, 8000)
    >>> heard = classify(one, file, hop_s=0.5)
    >>> heard.windows, heard.seconds, heard.remarks
    (4, 2.5, ('resampled from 8000 Hz to 44100 Hz',))
    """
    front_end = classifier.known_front_end()
    info = probe(file)
    clips = ClipStream(front_end, sample_rate=info.sample_rate, hop_s=hop_s)
    total = torch.zeros(len(classifier.labels), dtype=torch.float64)
    count, kept = 0, []
    arriving = _clips(clips, file, progress)
    while batch := list(islice(arriving, max(1, min(_BATCH_WINDOWS, _BATCH_SAMPLES // front_end.samples)))):
        posteriors = classifier.posteriors_of_waveforms(
            torch.stack([torch.from_numpy(clip.waveform) for clip in batch]), batch_size=_BATCH_WINDOWS
        )
        total += posteriors.sum(dim=0)
        count += len(batch)
        if per_window:
            kept += [
                Window(clip.start_s, clip.end_s, *_named(classifier, row))
                for clip, row in zip(batch, posteriors, strict=True)
            ]
    if not torch.isfinite(total).all():
        raise CoppiceError(f"the network's output for {file} is not a number; {clips.flaws.why_no_number()}.")
    return Classification(
        str(file),
        *_named(classifier, total / count),
        windows=count,
        padded=clips.padded,
        seconds=info.duration_s,
        remarks=clips.remarks(),
        per_window=tuple(kept),
    )


def _clips(clips: ClipStream, file: str | Path, progress: Callable[[float], None] | None) -> Iterator[Clip]:
    for block in decode_blocks(file):
        before = clips.heard_s
        yield from clips.push(block)
        if progress:
            progress(clips.heard_s - before)
    yield from clips.finish()


def _named(classifier: Hears, posteriors: torch.Tensor) -> tuple[str, dict[str, float]]:
    """Return the class with the largest posterior, and all of them by name."""
    return (
        classifier.labels[int(posteriors.argmax())],
        dict(zip(classifier.labels, posteriors.tolist(), strict=True)),
    )
