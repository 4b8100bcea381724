"""The layers of an ONNX graph: which node computes which, and whether in int8."""

from collections.abc import Mapping
from typing import Any

import onnx

WITH_WEIGHTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_PREFIX = "network."


def layer_nodes(model: Any) -> dict[str, str]:
    """Return the layers of an exported network that can be computed in int8, by name, and the node of each.

    Parameters
    ----------
    model : onnx.ModelProto
        From :func:`coppice.export.onnx.onnx_model`.

    Returns
    -------
    dict of str to str
        Layer, such as ``conv2``, to node; a layer is called as its node where the graph no longer knows its name.

    Examples
    --------
    >>> import torch
    >>> from coppice.export.onnx_graph import onnx_graph
    >>> net = torch.nn.Sequential(torch.nn.Conv1d(1, 4, 3), torch.nn.ReLU())
    >>> list(layer_nodes(onnx_graph(net, torch.zeros(2, 1, 9), inputs="x", outputs=["y"])))
    ['0']
    """
    weights, _ = _constants(model)
    layers: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type not in WITH_WEIGHTS:
            continue
        found = [weights[name] for name in node.input[:2] if name in weights]
        if not found:
            continue  # a product of two activations
        name = found[0].removeprefix(_PREFIX).removesuffix(".weight") if found[0].endswith(".weight") else node.name
        layers[name if name not in layers else node.name] = node.name
    return layers


def in_int8(model: Any, layers: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which layers of a quantized graph are computed in int8, and which in float, in their order.

    Parameters
    ----------
    model : onnx.ModelProto
        With ``DequantizeLinear`` behind what is stored in int8.
    layers : mapping
        From :func:`layer_nodes`, of the graph before.
    """
    _, whole = _constants(model)
    nodes = {node.name: node for node in model.graph.node}
    rounded = [name for name, node in layers.items() if any(i in whole for i in nodes[node].input[:2])]
    return tuple(rounded), tuple(name for name in layers if name not in rounded)


def _constants(model: Any) -> tuple[dict[str, str], set[str]]:
    """Return for each value that depends on weights alone the weight's name, and those of them that come from int8."""
    origin = {tensor.name: tensor.name for tensor in model.graph.initializer}
    whole = {t.name for t in model.graph.initializer if t.data_type in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)}
    for node in model.graph.node:
        if node.input and all(name in origin for name in node.input if name):
            for output in node.output:
                origin[output] = origin[node.input[0]]
                if node.input[0] in whole:
                    whole.add(output)
    return origin, whole
