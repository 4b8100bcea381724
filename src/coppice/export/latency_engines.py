"""How each program that runs exported models is given a single product, or a whole network, to be timed."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import nn

from coppice.complexity.product import Product
from coppice.export.litert.builder import Builder
from coppice.export.litert.export import litert_graph
from coppice.export.litert.lower import Lowering
from coppice.export.litert.model_file import LiteRTFile
from coppice.export.onnx_file import OnnxFile, parse_onnx
from coppice.export.onnx_graph import onnx_graph
from coppice.export.product_graph import product_graph
from coppice.export.product_module import ProductModule
from coppice.export.runtimes import Call, c_call, litert_call, onnxruntime_call, openvino_call
from coppice.export.traced import quiet, traced

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Engine:
    """What one program needs.

    Attributes
    ----------
    package : str
        The module that says its version.
    product : callable
        From a product and how many copies of it are summed to a model in float32.
    network : callable
        From a network, which is left as it is, and the shape of one input to a model in float32.
    call : callable
        From a model, an input and ``threads`` to a call of the model.
    """

    package: str
    product: Callable[[Product, int], Any]
    network: Callable[[nn.Module, Shape], Any]
    call: Callable[..., Call]

    @property
    def version(self) -> str:
        """Version of the package; OpenVINO's goes on with the build, which is left out."""
        version: str = import_module(self.package).__version__
        return version.partition("-")[0]


def _onnx_product(product: Product, copies: int) -> OnnxFile:
    return product_graph(product, copies=copies)


def _onnx_network(network: nn.Module, shape: Shape) -> OnnxFile:
    model = onnx_graph(_alone(network), torch.zeros(2, *shape[1:]), inputs="input", outputs=["output"])
    return parse_onnx(model.SerializeToString(), type(network).__name__)


def _litert_product(product: Product, copies: int) -> LiteRTFile:
    """Translate without taking operators apart: products need it not, and it takes most of the time."""
    builder = Builder("float32")
    with quiet(), torch.no_grad():
        program = traced(ProductModule(product, copies=copies), torch.zeros(product.input), free_clips=False)
        given, (total,) = Lowering(program, builder).run()
    content = builder.content({"input": given.number}, {"output": total.number}, metadata="{}")
    return LiteRTFile(f"a {product.kind}", content, product.input[1:], {})


def _litert_network(network: nn.Module, shape: Shape) -> LiteRTFile:
    content = litert_graph(_alone(network), torch.zeros(shape), outputs=["output"])
    return LiteRTFile(type(network).__name__, content, shape[1:], {})


def _alone(network: nn.Module) -> nn.Module:
    """Return a copy as exporters want it."""
    return copy.deepcopy(network).cpu().float().eval()


ENGINES = {
    "onnxruntime": Engine("onnxruntime", _onnx_product, _onnx_network, onnxruntime_call),
    "openvino": Engine("openvino", _onnx_product, _onnx_network, openvino_call),
    "litert": Engine("ai_edge_litert", _litert_product, _litert_network, litert_call),
    "c": Engine("coppice.compiler.runtime", _onnx_product, _onnx_network, c_call),
}
