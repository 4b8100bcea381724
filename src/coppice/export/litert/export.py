"""The verb ``export_litert``: a classifier as a ``.tflite`` file in float32, float16 or int8, verified."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.core.files import whole_file
from coppice.export.exported import Exported, metadata
from coppice.export.litert import layers, shapes  # noqa: F401  their rules register themselves
from coppice.export.litert.builder import Builder
from coppice.export.litert.int8 import int8_model
from coppice.export.litert.lower import RULES, Lowering
from coppice.export.litert.model_file import LiteRTFile, parse_litert
from coppice.export.posterior_graph import PosteriorGraph
from coppice.export.runtimes import litert_posteriors, runtime
from coppice.export.traced import quiet, traced
from coppice.export.verify import TOLERANCES, model_inputs, verify
from coppice.networks.classifier import Classifier

PRECISIONS = ("float32", "float16", "int8")
OUTPUTS = ("logits", "posteriors")


def export_litert(
    classifier: Classifier,
    path: str | Path,
    *,
    precision: str = "float32",
    with_front_end: bool = False,
    calibration: Float[Tensor, "clips samples"] | None = None,
    clips: Float[Tensor, "clips samples"] | None = None,
    tolerance: float | None = None,
) -> Exported:
    """Write a classifier as a LiteRT (TensorFlow Lite) file, once LiteRT has given the same posteriors from it.

    Written from the traced network without TensorFlow; batch normalisation is folded into the layers before it, and
    activations are fused where LiteRT does. The model takes one clip at a time, in float32 whatever the precision, and
    returns logits and posteriors. What :func:`coppice.export.onnx.export_onnx` writes into its metadata stands as JSON
    in the metadata ``coppice``.

    Parameters
    ----------
    classifier : Classifier
        Left as it is.
    path : str or Path
        The file to write; it appears whole or not at all.
    precision : {"float32", "float16", "int8"}
        ``"float16"`` stores weights in 16 bit and computes in float32. ``"int8"`` is full-integer
        (:func:`coppice.export.litert.int8.int8_model`).
    with_front_end : bool
        Whether it takes waveforms; the front end is float32 in all precisions.
    calibration : Tensor, shape (clips, samples), optional
        Waveforms of training clips; needed for ``"int8"``.
    clips : Tensor, shape (clips, samples), optional
        Waveforms to verify with; without them seeded noise, for int8 the calibration clips.
    tolerance : float, optional
        Largest absolute difference of a posterior allowed; by the precision if not given.

    Raises
    ------
    CoppiceError
        If LiteRT is not installed or lacks an operator, ``"int8"`` has no calibration clips, the posteriors differ by
        more than allowed, or the disk refuses.
    """
    path = Path(path)
    if precision not in PRECISIONS:
        raise CoppiceError(f"LiteRT files are not written as {precision!r}. {did_you_mean(precision, PRECISIONS)}")
    model = litert_model(
        classifier, precision=precision, with_front_end=with_front_end, calibration=calibration, name=str(path)
    )
    agreement = verify(
        litert_posteriors(model, threads=1),
        classifier,
        with_front_end=with_front_end,
        clips=calibration if clips is None else clips,
        tolerance=TOLERANCES[precision] if tolerance is None else tolerance,
        material="calibration clips" if clips is None and calibration is not None else "given clips",
    )
    with whole_file(path) as temporary:
        temporary.write_bytes(model.content)
    return Exported(
        path=path,
        format="LiteRT",
        precision=precision,
        size_bytes=path.stat().st_size,
        input_name=model.metadata["input"],
        clip_shape=model.clip_shape,
        checked_in="LiteRT",
        agreement=agreement,
    )


def litert_model(
    classifier: Classifier,
    *,
    precision: str = "float32",
    with_front_end: bool = False,
    calibration: Float[Tensor, "clips samples"] | None = None,
    name: str = "the model",
) -> LiteRTFile:
    """Return the content of the file that :func:`export_litert` writes, not verified yet; ``name`` is for messages."""
    runtime("litert")
    if (precision == "int8") != (calibration is not None):
        raise CoppiceError(
            "int8 needs the clips that the network was trained on, to measure what flows between its layers; give "
            "calibration clips, some 100."
            if calibration is None
            else f"calibration clips are for int8, not {precision}; leave them out."
        )
    graph = PosteriorGraph(classifier, with_front_end=with_front_end)
    content = litert_graph(
        graph,
        torch.zeros(1, *graph.clip_shape),
        precision="float16" if precision == "float16" else "float32",
        inputs=graph.input_name,
        metadata=json.dumps(metadata(classifier, graph)),
    )
    if calibration is not None:
        inputs = model_inputs(classifier, calibration, with_front_end=with_front_end)
        content = int8_model(content, (one[None].numpy() for one in inputs), input_name=graph.input_name)
    return parse_litert(content, name)


def litert_graph(
    module: nn.Module,
    example: Float[Tensor, "1 *shape"],
    *,
    precision: str = "float32",
    inputs: str = "input",
    outputs: Sequence[str] = OUTPUTS,
    metadata: str = "{}",
) -> bytes:
    """Translate a module with one input into a LiteRT file.

    Parameters
    ----------
    module : nn.Module
        In eval mode.
    example : Tensor
        One input; the file takes this shape.
    precision : {"float32", "float16"}
        Number format of the weights.
    inputs : str
        Name of the input.
    outputs : sequence of str
        Names of its outputs, as many as the module returns.
    metadata : str
        Stands in the file.

    Raises
    ------
    CoppiceError
        If the module has an operator that is not written (with operator and layer), or cannot be traced.
    """
    builder = Builder(precision)
    with torch.inference_mode():
        module(example)  # what the network refuses is said by itself, not by the exporter
    with quiet(), torch.no_grad():
        program = traced(module, example, free_clips=False)
        program = program.run_decompositions(_decompositions())
    with torch.no_grad():
        given, results = Lowering(program, builder).run()
    named = {name: value.number for name, value in zip(outputs, results, strict=True)}
    return builder.content({inputs: given.number}, named, metadata=metadata)


def _decompositions() -> dict:
    """Return how torch takes other operators apart; those with a rule here stay whole."""
    table = torch.export.default_decompositions()
    for target in RULES:
        if isinstance(target, torch._ops.OpOverload):
            table.pop(target, None)
    return table
