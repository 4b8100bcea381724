"""Layers that lose too much in int8 stay in float: which ones, and how few."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from jaxtyping import Float, Float32

from coppice.core.errors import CoppiceError
from coppice.core.progress import progress_bar
from coppice.core.units import percent_text
from coppice.export.onnx_file import OnnxFile, parse_onnx
from coppice.export.runtimes import onnxruntime_posteriors
from coppice.quantization.judge import Judge
from coppice.quantization.layers import layer_nodes
from coppice.quantization.post_training import rounded_graph


def rounded_within(
    model: OnnxFile,
    inputs: Float32[np.ndarray, "clips *shape"],
    *,
    judge: Judge,
    judged: Float32[np.ndarray, "judged *shape"],
    max_drop: float | None,
    in_float: Sequence[str] = (),
) -> tuple[Any, float]:
    """Quantize a graph, and put back layers into float until no more is lost than allowed.

    Where all layers in int8 lose too much, each layer is put back alone, and the layers are ordered by the log-loss
    that is left then; they go back in this order, one more at a time, until the drop is small enough. Ranges and biases
    are measured anew each time.

    Parameters
    ----------
    model : OnnxFile
        From :func:`coppice.export.onnx.onnx_model`.
    inputs : ndarray of float32, shape (clips, ...)
        To calibrate on.
    judge : Judge
        What is lost.
    judged : ndarray of float32, shape (judged, ...)
        The clips that it judges, as inputs of the model.
    max_drop : float or None
        Largest drop allowed, 0 to 1; None allows any.
    in_float : sequence of str
        Layers that stay in float in any case.

    Returns
    -------
    model : onnx.ModelProto
        Quantized.
    drop : float
        What it loses.

    Raises
    ------
    CoppiceError
        If the drop is larger with one layer in int8 still.
    """
    nodes = layer_nodes(onnx.load_model_from_string(model.content))
    fixed = [nodes[layer] for layer in in_float]
    free = [layer for layer in nodes if layer not in set(in_float)]

    def tried(layers: Sequence[str]) -> tuple[Any, Float[np.ndarray, "judged classes"]]:
        graph = rounded_graph(model, inputs, in_float=[*fixed, *(nodes[layer] for layer in layers)])
        file = parse_onnx(graph.SerializeToString(), model.name)
        return graph, onnxruntime_posteriors(file, threads=1)(judged).astype(np.float64)

    graph, found = tried(())
    first = drop = judge.drop(found)
    if max_drop is None or drop <= max_drop:
        return graph, drop
    with progress_bar("layers in float", 2 * len(free) - 1) as advance:
        left: dict[str, float] = {}
        for layer in free:
            left[layer] = judge.loss(tried([layer])[1])
            advance(1, layer)
        order = sorted(free, key=lambda layer: left[layer])
        for number in range(1, len(order)):
            graph, found = tried(order[:number])
            drop = judge.drop(found)
            advance(1, f"{number} layers: {percent_text(drop)} lost")
            if drop <= max_drop:
                return graph, drop
    raise CoppiceError(
        f"int8 loses {percent_text(first)} of the {judge.measure} on {len(judged)} clips, and {percent_text(drop)} "
        f"with all layers in float but {order[-1]}, where {percent_text(max_drop)} are allowed. Allow more, or store "
        "16-bit numbers."
    )
