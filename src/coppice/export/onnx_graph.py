"""From a module to an ONNX model in memory: traced, translated, tidied, checked."""

import re
from typing import Any

import onnx
import torch
from jaxtyping import Float
from onnx import TensorProto
from torch import Tensor, nn

from coppice.core.errors import CoppiceError
from coppice.export.traced import BATCH, layer_of, quiet, traced

OPSET = 18  # the one that torch's exporter writes without converting, and that all runtimes here read
_MOST_BYTES = 2_000_000_000  # a protobuf message ends at 2 GiB
_TAKEN_FOR_ZERO = 1e-8


def onnx_graph(module: nn.Module, example: Float[Tensor, "2 *shape"], *, inputs: str, outputs: list[str]) -> Any:
    """Translate a module into an ONNX model whose first axis, the clips, is free.

    Parameters
    ----------
    module : nn.Module
        In eval mode; takes one tensor.
    example : Tensor
        One input, batch of 2.
    inputs : str
        Name of the model's input.
    outputs : list of str
        Names of its outputs.

    Returns
    -------
    onnx.ModelProto
        Of opset 18, checked, without traces of the machine that it was made on.

    Raises
    ------
    CoppiceError
        If the network has an operator that ONNX lacks (with operator and layer), cannot be traced, or is too large.

    Examples
    --------
    >>> model = onnx_graph(nn.Linear(3, 2), torch.zeros(2, 3), inputs="x", outputs=["y"])
    >>> [node.op_type for node in model.graph.node]
    ['Gemm']
    """
    size = sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())
    if size > _MOST_BYTES:
        raise CoppiceError(
            f"the network has {size / 1e9:.1f} GB of weights and an ONNX file holds 2.0; prune it first."
        )
    with quiet():
        traced_module = traced(module, example)
        try:
            program = torch.onnx.export(
                traced_module,
                (),
                dynamo=True,
                opset_version=OPSET,
                input_names=[inputs],
                output_names=outputs,
                optimize=False,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise _refusal(error, traced_module) from error
        assert program is not None
        if not _has_tiny_scalars(program.model_proto):
            program.optimize()
        model = program.model_proto
    _tidy_(model)
    onnx.checker.check_model(model)
    return model


def _refusal(error: Exception, traced_module: torch.export.ExportedProgram) -> CoppiceError:
    """Name the operator that ONNX lacks, and the layer that runs it."""
    found = None
    cause: BaseException | None = error
    while cause is not None and found is None:
        found = re.search(r"No ONNX function found for <OpOverload\(op='([^']+)'", str(cause))
        cause = cause.__cause__
    if found is None:
        return CoppiceError(f"the network cannot be translated into ONNX: {str(error).splitlines()[0]}")
    operator, where = found[1], ""
    for node in traced_module.graph.nodes:
        # What was traced may have been split up since: aten.special_bessel_j0.default becomes prims.bessel_j0.
        name = str(node.target).removesuffix(".default")
        if node.op == "call_function" and name.endswith(operator.rpartition(".")[2]):
            layer = layer_of(node)
            operator, where = name, f", which {layer!r} uses" if layer else ""
            break
    return CoppiceError(
        f"ONNX (opset {OPSET}) has no operator for {operator}{where}; replace it by other operators and export again."
    )


def _has_tiny_scalars(model: Any) -> bool:
    """Say whether a number is so small that the optimiser takes it for 0: ``log(x + 1e-10)`` would lose it."""
    constants = [a for node in model.graph.node if node.op_type == "Constant" for a in node.attribute]
    values = [attribute.f for attribute in constants if attribute.name == "value_float"]
    for tensor in (*model.graph.initializer, *(a.t for a in constants if a.name == "value")):
        if not tensor.dims and tensor.data_type in (TensorProto.FLOAT, TensorProto.DOUBLE):
            values.append(float(onnx.numpy_helper.to_array(tensor)))
    return any(0 < abs(value) <= _TAKEN_FOR_ZERO for value in values)


def _tidy_(model: Any) -> None:
    """Take out what tells of the machine (source lines with their paths), and name the free axis."""
    graph = model.graph
    del graph.metadata_props[:]
    for value in (*graph.input, *graph.output, *graph.value_info):
        del value.metadata_props[:]
    for entry in (*graph.node, *graph.initializer):
        entry.doc_string = ""
        del entry.metadata_props[:]
    symbols = {dim.dim_param for value in graph.input for dim in value.type.tensor_type.shape.dim[:1]}
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in symbols and dim.dim_param:
                dim.dim_param = BATCH
