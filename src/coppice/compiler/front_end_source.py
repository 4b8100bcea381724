"""The front end as C: waveform to log-mel, with a Fourier transform of its own."""

import numpy as np

from coppice.audio.front_end import FrontEnd
from coppice.compiler.source import rendered
from coppice.core.errors import CoppiceError
from coppice.export.onnx_classifier import OnnxClassifier
from coppice.networks.classifier import Classifier

_ALIGNED = 16  # floats


def front_end_source(classifier: Classifier | OnnxClassifier) -> str:
    """Return ``front_end.c``, whose ``model_listen`` takes a waveform of one clip.

    Parameters
    ----------
        classifier : Classifier or OnnxClassifier
            With a known front end and, where it has one, normalisation.

    Raises
    ------
        CoppiceError
            If they are not known, or the FFT is no power of two.

    Examples
    --------
        >>> from coppice.audio.front_end import front_end
        >>> from coppice.networks.dcase2021 import DCASE2021
        >>> import torch
        >>> ear, bands = front_end("dcase2021", duration_s=1.0), (torch.zeros(40), torch.ones(40))
        >>> "logf" in front_end_source(Classifier(DCASE2021(frames=50), ear, tuple("abcdefghij"), *bands))
        True
    """
    front_end = classifier.known_front_end()
    size = front_end.n_fft
    if size & (size - 1) or size < 8:
        raise CoppiceError(f"n_fft is {size}; the front end becomes C with a power of two from 8 only, such as 2048.")
    angles = 2 * np.pi * np.arange(size // 2) / size
    bank = front_end.filterbank()
    inside = [np.flatnonzero(band) for band in bank]
    firsts = [int(bins[0]) for bins in inside]
    counts = [int(bins[-1] - bins[0]) + 1 for bins in inside]
    weights = [bank[b, first : first + count] for b, (first, count) in enumerate(zip(firsts, counts, strict=True))]
    mean, spread = classifier.band_mean, classifier.band_std
    if mean is None or spread is None:
        raise CoppiceError(
            "this classifier's normalisation is not known, because the file that it was imported from does not hold "
            "it; fine-tune it, which measures the bands of the training clips."
        )
    return rendered(
        "front_end.c.j2",
        front_end=front_end,
        shape=_single(front_end.shaping_window()),
        turn=_single(np.stack([np.cos(angles), np.sin(angles)], axis=1).ravel()),
        first_bin=firsts,
        bin_count=counts,
        bin_weight=_single(np.concatenate(weights)),
        band_mean=_single(mean.numpy()),
        band_share=_single(1 / spread.double().numpy()),
        kept=kept_floats(front_end),
    )


def kept_floats(front_end: FrontEnd) -> int:
    """Return how many floats the features take in the work memory, so that what follows stays aligned."""
    return -(-front_end.n_mels * front_end.frames // _ALIGNED) * _ALIGNED


def listen_bytes(front_end: FrontEnd, work_bytes: int) -> int:
    """Return the work memory of ``model_listen``: the features, and then a frame or the network."""
    return 4 * kept_floats(front_end) + max(4 * (front_end.n_fft + front_end.n_fft // 2 + 1), work_bytes)


def table_bytes(front_end: FrontEnd) -> int:
    """Return the bytes of the front end's constants: window, transform, filterbank, normalisation."""
    weights = int((front_end.filterbank() > 0).sum())
    return 4 * (front_end.win_length + front_end.n_fft + weights + 2 * front_end.n_mels) + 4 * front_end.n_mels


def _single(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)
