from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from coppice.audio.front_end import front_end
from coppice.export.onnx import onnx_model
from coppice.export.onnx_file import OnnxFile
from coppice.networks.classifier import Classifier
from coppice.networks.dcase2021 import DCASE2021
from coppice.networks.registry import build_network


@pytest.fixture(scope="session")
def used() -> Callable[[nn.Module], nn.Module]:
    """Give a fresh network the look of a trained one: running statistics and biases that are not 0 and 1."""

    def wear(network: nn.Module) -> nn.Module:
        generator = torch.Generator().manual_seed(5)
        for name, tensor in network.state_dict().items():
            if "running" in name:
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            elif tensor.is_floating_point():
                tensor.add_(0.05 * torch.randn(tensor.shape, generator=generator))
        return network.eval()

    return wear


@pytest.fixture(scope="session")
def classifier(used) -> Classifier:
    """Half-second clips, three classes."""
    torch.manual_seed(0)
    return Classifier(
        network=used(DCASE2021(widths=(4, 3, 5), dense=6, classes=3, frames=25)),
        front_end=front_end("dcase2021", duration_s=0.5),
        labels=("bus", "park", "tram"),
        band_mean=torch.linspace(-9, -6, 40),
        band_std=torch.linspace(1, 2, 40),
    )


@pytest.fixture(scope="session")
def model(classifier) -> OnnxFile:
    return onnx_model(classifier)


@pytest.fixture(scope="session")
def whole_model(classifier) -> OnnxFile:
    """The same with the front end inside."""
    return onnx_model(classifier, with_front_end=True)


@pytest.fixture(scope="session")
def run() -> Callable[..., dict[str, np.ndarray]]:
    """Run an ONNX model on inputs, without our own code; name of the output -> its values."""

    def run(content: bytes, inputs: np.ndarray) -> dict[str, np.ndarray]:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        (given,) = session.get_inputs()
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, {given.name: inputs}), strict=True))

    return run


@pytest.fixture(scope="session")
def bare(used) -> Callable[..., Classifier]:
    """A classifier without front end around a registered architecture."""

    def build(name: str, shape: tuple[int, ...], **config: object) -> Classifier:
        torch.manual_seed(0)
        network = used(build_network(name, **config))
        with torch.no_grad():
            classes = network(torch.zeros(1, *shape)).shape[1]
        if not hasattr(type(network), "input_shape"):
            network.input_shape = shape
        return Classifier(network, None, tuple(f"class {i}" for i in range(classes)), None, None)

    return build
