"""The verb ``export_onnx``: a classifier as one ONNX file, with or without the front end inside, verified."""

import json
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from coppice import __version__
from coppice.core.files import whole_file
from coppice.export.exported import Exported, metadata
from coppice.export.onnx_file import OnnxFile, parse_onnx
from coppice.export.onnx_graph import OPSET, onnx_graph
from coppice.export.posterior_graph import PosteriorGraph
from coppice.export.runtimes import onnxruntime_posteriors
from coppice.export.verify import TOLERANCE, verify
from coppice.networks.classifier import Classifier


def export_onnx(
    classifier: Classifier,
    path: str | Path,
    *,
    with_front_end: bool = False,
    clips: Float[Tensor, "clips samples"] | None = None,
    tolerance: float = TOLERANCE,
) -> Exported:
    """Write a classifier as an ONNX file of float32, once ONNX Runtime has given the same posteriors from it.

    The file has two outputs, ``logits`` and ``posteriors``, both (clips, classes), and says in its metadata what a
    device must know: ``labels``, ``score``, ``input``, ``macs`` (of the network, for one clip), ``sample_rate_hz``,
    ``samples``, ``preset``, ``front_end``, ``band_mean``, ``band_std`` (JSON) and ``coppice_version``.

    Parameters
    ----------
    classifier : Classifier
        Left as it is. An architecture of your own works as well.
    path : str or Path
        The file to write; it appears whole or not at all.
    with_front_end : bool
        Whether the file takes waveforms and needs no feature code beside it. They are at the front end's sample rate
        and of its length.
    clips : Tensor, shape (clips, samples), optional
        Waveforms to verify with; seeded noise without (:func:`coppice.export.verify.verify`).
    tolerance : float
        Largest absolute difference of a posterior allowed.

    Returns
    -------
    Exported

    Raises
    ------
    CoppiceError
        If the network has an operator that ONNX lacks, front end or normalisation are wanted and not known, the
        posteriors differ by more than allowed, or the disk refuses.

    Examples
    --------
    >>> import tempfile
    >>> from coppice.audio.front_end import front_end
    >>> from coppice.networks.dcase2021 import DCASE2021
    >>> ear = front_end("dcase2021", duration_s=1.0)
    >>> one = Classifier(DCASE2021(widths=(2, 2, 2), frames=50), ear, tuple("abcdefghij"), None, None)
    >>> done = export_onnx(one, Path(tempfile.mkdtemp()) / "one.onnx")
    >>> done.input_name, done.clip_shape, done.agreement.max_delta < 1e-6
    ('normalised_log_mel', (1, 40, 50), True)
    """
    path = Path(path)
    model = onnx_model(classifier, with_front_end=with_front_end, name=str(path))
    agreement = verify(
        onnxruntime_posteriors(model, threads=1),
        classifier,
        with_front_end=with_front_end,
        clips=clips,
        tolerance=tolerance,
    )
    with whole_file(path) as temporary:
        temporary.write_bytes(model.content)
    return Exported(
        path=path,
        format=f"ONNX opset {OPSET}",
        precision="float32",
        size_bytes=path.stat().st_size,
        input_name=model.metadata["input"],
        clip_shape=model.clip_shape,
        checked_in="ONNX Runtime",
        agreement=agreement,
    )


def onnx_model(classifier: Classifier, *, with_front_end: bool = False, name: str = "the model") -> OnnxFile:
    """Return the content of the file that :func:`export_onnx` writes, not verified yet; ``name`` is for messages."""
    graph = PosteriorGraph(classifier, with_front_end=with_front_end)
    example = torch.zeros(2, *graph.clip_shape)
    with torch.inference_mode():
        graph(example)  # what the network refuses is said by itself, not by the exporter
    model = onnx_graph(graph, example, inputs=graph.input_name, outputs=["logits", "posteriors"])
    model.producer_name, model.producer_version = "coppice", __version__
    for key, value in metadata(classifier, graph).items():
        model.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
    return parse_onnx(model.SerializeToString(deterministic=True), name)
