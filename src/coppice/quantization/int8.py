"""The verb ``quantize_int8``: a classifier as one ONNX file that computes in int8."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from jaxtyping import Float32, Float64

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.core.files import whole_file
from coppice.core.modes import eval_mode
from coppice.export.exported import metadata
from coppice.export.onnx import onnx_model
from coppice.export.onnx_file import OnnxFile, parse_onnx
from coppice.export.onnx_graph import OPSET
from coppice.export.posterior_graph import PosteriorGraph
from coppice.export.runtimes import onnxruntime_posteriors
from coppice.export.verify import Agreement, compare, noise_clips
from coppice.networks.classifier import Classifier
from coppice.quantization.calibration import check_calibration, network_inputs
from coppice.quantization.ear import with_ear
from coppice.quantization.judge import Judge
from coppice.quantization.layers import in_int8, layer_nodes
from coppice.quantization.post_training import nncf
from coppice.quantization.restoring import rounded_within

_ANY = 1.0  # posteriors cannot differ by more
_EAR_TOLERANCE = 0.05  # of a posterior: a log-mel that differs in its last bits can be rounded to the next step
_AT_ONCE = 16


@dataclass(frozen=True)
class Quantized:
    """An int8 file, and what became of the network in it.

    Attributes
    ----------
    path : Path
        The file.
    size_bytes : int
        Measured.
    opset : int
        Version of the ONNX operators in it.
    input_name : str
        ``"waveform"``, ``"normalised_log_mel"`` or ``"features"``, as in :func:`coppice.export.onnx.export_onnx`.
    clip_shape : tuple of int
        Shape of the input without its first axis, the clips, which is free.
    int8_layers, float_layers : tuple of str
        Convolutions and dense layers computed in int8, and those left in float32.
    calibration_clips : int
        Clips that ranges and biases were measured on.
    agreement : Agreement
        Of ONNX Runtime with PyTorch in float32, on the validation clips, or without them on those it was calibrated
        on. Any difference is allowed: what int8 costs is for whoever uses it to judge.
    drop : float
        What is lost on the same clips, 0 to 1; negative where int8 does better by chance.
    drop_of : str
        ``"accuracy"`` or ``"agreement with float32"``.
    """

    path: Path
    size_bytes: int
    opset: int
    input_name: str
    clip_shape: tuple[int, ...]
    int8_layers: tuple[str, ...]
    float_layers: tuple[str, ...]
    calibration_clips: int
    agreement: Agreement
    drop: float
    drop_of: str


def quantize_int8(
    classifier: Classifier,
    path: str | Path,
    *,
    clips: Any,
    validation: Any = None,
    targets: Any = None,
    max_drop: float | None = None,
    in_float: Sequence[str] = (),
    with_front_end: bool = False,
) -> Quantized:
    """Write a classifier as an ONNX file whose layers compute in int8, by post-training quantization.

    The file holds ``QuantizeLinear`` and ``DequantizeLinear``, which ONNX Runtime and OpenVINO turn into int8 kernels:
    weights symmetric with a scale per filter, activations with a scale and zero point each, biases corrected
    (:func:`coppice.quantization.post_training.rounded_graph`, done by NNCF). Outputs and metadata are those of
    :func:`coppice.export.onnx.export_onnx`, and ``quantized`` says what was done.

    Parameters
    ----------
    classifier : Classifier
        Left as it is. Prune and fine-tune first.
    path : str or Path
        The file to write; it appears whole or not at all.
    clips : Tensor
        To calibrate on, eight or more of the *training* clips (100 are usual): log-mel (clips, mels, frames), not
        normalised, or waveforms (clips, samples).
    validation : Tensor, optional
        Clips that losses are judged on, never those of a test; without them, those that it is calibrated on.
    targets : Tensor of int, optional
        Index of the class of each of the validation clips; without them, losses are judged by the classes that the
        network gives in float32.
    max_drop : float, optional
        Largest drop of the accuracy (without targets, of the agreement with float32) allowed, such as 0.005: layers
        stay in float32 until it is met (:func:`coppice.quantization.restoring.rounded_within`).
    in_float : sequence of str
        Layers that stay in float32 in any case.
    with_front_end : bool
        Whether the file takes waveforms. The front end computes in float32.

    Returns
    -------
    Quantized

    Raises
    ------
    CoppiceError
        If clips are too few, all the same, not numbers or of another shape; a layer's name is unknown; the drop allowed
        cannot be met; NNCF is not installed; or anything that an export refuses.

    Examples
    --------
    >>> import tempfile
    >>> from coppice.audio.front_end import front_end
    >>> from coppice.networks.dcase2021 import DCASE2021
    >>> ear, bands = front_end("dcase2021", duration_s=1.0), (torch.zeros(40), torch.ones(40))
    >>> one = Classifier(DCASE2021(widths=(2, 2, 2), frames=50), ear, tuple("abcdefghij"), *bands)
    >>> done = quantize_int8(one, Path(tempfile.mkdtemp()) / "one.onnx", clips=torch.randn(8, 40, 50))
    >>> done.int8_layers
    ('conv1', 'conv2', 'conv3', 'dense1', 'dense2')
    """
    path = Path(path)
    _check_drop(max_drop, validation, targets)
    inputs = network_inputs(classifier, clips, what="calibration clips")
    check_calibration(inputs)
    judged = inputs if validation is None else network_inputs(classifier, validation, what="validation clips")
    model = onnx_model(classifier, name=str(path))
    layers = layer_nodes(onnx.load_model_from_string(model.content))
    for layer in in_float:
        if layer not in layers:
            raise CoppiceError(f"there is no layer {layer!r} to leave in float. {did_you_mean(layer, layers)}")
    if not set(layers) - set(in_float):
        raise CoppiceError("no convolution or dense layer is left to compute in int8; store 16-bit numbers instead.")
    expected = _posteriors(classifier, judged)
    judge = Judge(expected, None if targets is None else np.asarray(targets), classifier.score)
    graph, drop = rounded_within(
        model, inputs, judge=judge, judged=judged, max_drop=max_drop, in_float=list(dict.fromkeys(in_float))
    )
    whole, left = in_int8(graph, layers)
    quantized = {
        "to": "int8",
        "by": f"NNCF {nncf().__version__}, post-training",
        "calibration_clips": len(inputs),
        "int8_layers": list(whole),
        "float_layers": list(left),
    }
    file = _file(graph, metadata(classifier, PosteriorGraph(classifier, with_front_end=False)), quantized, path)
    material = "calibration clips" if validation is None else "validation clips"
    agreement = compare(_run(file, judged), expected, material=material, tolerance=_ANY)
    if with_front_end:
        said = metadata(classifier, PosteriorGraph(classifier, with_front_end=True))
        network, file = file, _file(with_ear(graph, classifier), said, quantized, path)
        noise = noise_clips(classifier.known_front_end())
        heard = network_inputs(classifier, noise)
        compare(
            _run(file, noise.numpy()), _run(network, heard), material="clips of seeded noise", tolerance=_EAR_TOLERANCE
        )
    with whole_file(path) as temporary:
        temporary.write_bytes(file.content)
    return Quantized(
        path=path,
        size_bytes=path.stat().st_size,
        opset=OPSET,
        input_name=file.metadata["input"],
        clip_shape=file.clip_shape,
        int8_layers=whole,
        float_layers=left,
        calibration_clips=len(inputs),
        agreement=agreement,
        drop=drop,
        drop_of=judge.measure,
    )


def _check_drop(max_drop: float | None, validation: Any, targets: Any) -> None:
    if max_drop is not None and not 0 <= max_drop <= 1:
        raise CoppiceError(f"max_drop is {max_drop}; give a share of the clips, such as 0.005 for half a point.")
    if targets is not None and validation is None:
        raise CoppiceError("targets go with validation clips; give both, or neither.")


@torch.inference_mode()
def _posteriors(
    classifier: Classifier, inputs: Float32[np.ndarray, "clips *shape"]
) -> Float64[np.ndarray, "clips classes"]:
    with eval_mode(classifier.network):
        logits = torch.cat([classifier.network(part) for part in torch.from_numpy(inputs).split(_AT_ONCE)]).double()
    return (logits.sigmoid() if classifier.score == "sigmoid" else logits.softmax(dim=1)).numpy()


def _run(file: OnnxFile, inputs: Float32[np.ndarray, "clips *shape"]) -> Float64[np.ndarray, "clips classes"]:
    posteriors = onnxruntime_posteriors(file, threads=1)
    return np.concatenate([posteriors(inputs[i : i + _AT_ONCE]) for i in range(0, len(inputs), _AT_ONCE)]).astype(float)


def _file(graph: Any, said: dict[str, Any], quantized: dict[str, Any], path: Path) -> OnnxFile:
    """Return a graph as the content of a file that says what it is."""
    del graph.metadata_props[:]
    for key, value in {**said, "quantized": quantized}.items():
        graph.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
    return parse_onnx(graph.SerializeToString(deterministic=True), str(path))
