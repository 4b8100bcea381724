"""What an export leaves: a file and how it was checked."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from coppice import __version__
from coppice.complexity.macs import count_macs
from coppice.export.posterior_graph import PosteriorGraph
from coppice.export.verify import Agreement
from coppice.networks.classifier import Classifier


@dataclass(frozen=True)
class Exported:
    """What was written, and how it was checked.

    Attributes
    ----------
    path : Path
        The file; of OpenVINO's two the ``.xml``.
    format : str
        With its version where it has one, such as ``"ONNX opset 18"``.
    precision : {"float32", "float16", "int8"}
        Number format of the weights; with ``"int8"`` also of what flows between the layers.
    size_bytes : int
        Measured; of OpenVINO both files together.
    input_name : str
        ``"waveform"`` (clips, samples); ``"normalised_log_mel"`` (clips, 1, mels, frames); or ``"features"``, what a
        network takes whose front end is not known.
    clip_shape : tuple of int
        Shape of the input without its first axis, the clips, which is free; in LiteRT it is 1.
    checked_in : str
        The program that computed the posteriors.
    agreement : Agreement
        With the classifier in PyTorch.
    """

    path: Path
    format: str
    precision: str
    size_bytes: int
    input_name: str
    clip_shape: tuple[int, ...]
    checked_in: str
    agreement: Agreement


def metadata(classifier: Classifier, graph: PosteriorGraph) -> dict[str, Any]:
    """Return what a file says of itself beside the numbers: all that a device must know, JSON-able.

    Examples
    --------
    >>> from coppice.networks.dcase2021 import DCASE2021
    >>> from coppice.audio.front_end import front_end
    >>> ear = front_end("dcase2021", duration_s=1.0)
    >>> one = Classifier(DCASE2021(frames=50), ear, tuple("abcdefghij"), None, None)
    >>> sorted(metadata(one, PosteriorGraph(one, with_front_end=False)))
    ['coppice_version', 'front_end', 'input', 'labels', 'macs', 'preset', 'sample_rate_hz', 'samples', 'score']
    """
    front_end = classifier.front_end
    said: dict[str, Any] = {
        "coppice_version": __version__,
        "input": graph.input_name,
        "labels": list(classifier.labels),
        "score": classifier.score,
        "macs": count_macs(graph.network, torch.zeros(classifier.input_shape)).total,
    }
    if front_end is not None:
        said |= {
            "preset": front_end.preset,
            "sample_rate_hz": front_end.sample_rate,
            "samples": front_end.samples,
            "front_end": front_end.to_dict(),
        }
    if classifier.band_mean is not None and classifier.band_std is not None:
        said |= {"band_mean": classifier.band_mean.tolist(), "band_std": classifier.band_std.tolist()}
    return said
