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

_LAST_BITS = 1e-9  # in which shares of clips differ from what is written as 0.03


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

    Where all layers in int8 lose too much, the layer goes back without which the log-loss is smallest, then of the
    others the next one in the same way, until the drop is small enough. Ranges and biases are measured anew each time.

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
        found = onnxruntime_posteriors(file, threads=1)(judged).astype(np.float64)
        if not np.isfinite(found).all():
            raise CoppiceError(f"{model.name} gives posteriors in int8 that are not numbers; store 16-bit numbers.")
        return graph, found

    graph, found = tried(())
    first = drop = judge.drop(found)
    if max_drop is None or drop <= max_drop + _LAST_BITS:
        return graph, drop
    back: list[str] = []
    with progress_bar("layers in float", len(free) * (len(free) + 1) // 2 - 1) as advance:
        while len(back) < len(free) - 1:
            best = np.inf
            for layer in (layer for layer in free if layer not in back):
                candidate, found = tried([*back, layer])
                advance(1, f"{', '.join([*back, layer])}: {percent_text(judge.drop(found))} lost")
                if judge.loss(found) < best:
                    best, chosen, graph, drop = judge.loss(found), layer, candidate, judge.drop(found)
            back.append(chosen)
            if drop <= max_drop + _LAST_BITS:
                return graph, drop
    (last,) = (layer for layer in free if layer not in back)
    raise CoppiceError(
        f"int8 loses {percent_text(first)} of the {judge.measure} on {len(judged)} clips, and {percent_text(drop)} "
        f"with all layers in float but {last}, where {percent_text(max_drop)} are allowed. Allow more, or store "
        "16-bit numbers."
    )
