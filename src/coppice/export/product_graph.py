"""One convolution or matrix product as an ONNX model, written directly: the exporter would take a second for each."""

from typing import Any

from onnx import TensorProto, helper, numpy_helper

from coppice.complexity.product import Product
from coppice.export.onnx_file import OnnxFile
from coppice.export.onnx_graph import OPSET

_IR_VERSION = 8  # the oldest with this opset: any runtime reads it


def product_graph(product: Product, *, copies: int = 1) -> OnnxFile:
    """Return a model that computes a product from its input, several times with other weights, and the sum.

    What one more copy takes is the product alone, see
    :meth:`coppice.export.latency_runtime.ExportedRuntime.product_ms`: runtimes add it up where they write it.

    Parameters
    ----------
    product : Product
        Becomes ``Conv``, ``ConvTranspose``, ``Gemm`` (with a bias) or ``MatMul`` (without).
    copies : int >= 1

    Returns
    -------
    OnnxFile
        In float32, for inputs of ``product.input`` exactly.

    Examples
    --------
    >>> product = Product("matrix", (1, 8), (8, 4), bias=True)
    >>> import onnx
    >>> model = onnx.load_model_from_string(product_graph(product, copies=2).content)
    >>> [node.op_type for node in model.graph.node]
    ['Gemm', 'Gemm', 'Add']
    """
    given, weight, bias = product.tensors()
    shape = product.run(given.to("meta"), weight.to("meta"), None if bias is None else bias.to("meta")).shape
    operator, attributes = _operator(product)
    nodes, stored = [], []
    total = ""
    for copy in range(copies):
        names = ["input"]
        for name, tensor in {"weight": weight, "bias": bias}.items():
            if tensor is not None:
                names.append(f"{name}{copy}")
                other = tensor + copy / 64  # equal ones might be merged
                stored.append(numpy_helper.from_array(other.numpy(), names[-1]))
        nodes.append(helper.make_node(operator, names, [f"product{copy}"], **attributes))
        if copy:
            nodes.append(helper.make_node("Add", [total, f"product{copy}"], [f"total{copy}"]))
        total = f"total{copy}" if copy else "product0"
    graph = helper.make_graph(
        nodes,
        product.kind,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, product.input)],
        [helper.make_tensor_value_info(total, TensorProto.FLOAT, shape)],
        stored,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION)
    return OnnxFile(f"a {product.kind} of {_text(product)}", model.SerializeToString(), product.input[1:], {})


def _operator(product: Product) -> tuple[str, dict[str, Any]]:
    if product.kind == "matrix":
        return ("Gemm" if product.bias else "MatMul"), {}
    geometry: dict[str, Any] = {
        "strides": product.stride,
        "pads": product.padding * 2,  # before and after
        "dilations": product.dilation,
        "group": product.groups,
    }
    if product.transposed:
        return "ConvTranspose", {**geometry, "output_padding": product.output_padding}
    return "Conv", geometry


def _text(product: Product) -> str:
    return " and ".join("×".join(map(str, shape)) for shape in (product.input, product.weight))
