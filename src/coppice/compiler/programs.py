"""From a network or a classifier to a fused program."""

import copy

import torch
from torch import nn

from coppice.compiler.fuse import fused
from coppice.compiler.graph_reader import read_program
from coppice.compiler.steps import Program
from coppice.core.errors import CoppiceError
from coppice.export.onnx import onnx_model
from coppice.export.onnx_file import OnnxFile, parse_onnx
from coppice.export.onnx_graph import onnx_graph
from coppice.export.posterior_graph import WAVEFORM
from coppice.networks.classifier import Classifier


def classifier_program(classifier: Classifier) -> Program:
    """Return what a classifier computes of what its network takes, up to logits and posteriors.

    Raises
    ------
    CoppiceError
        If the network has an operator that has no C, or none in ONNX.

    Examples
    --------
    >>> from coppice.audio.front_end import front_end
    >>> from coppice.networks.dcase2021 import DCASE2021
    >>> ear = front_end("dcase2021", duration_s=1.0)
    >>> one = Classifier(DCASE2021(frames=50), ear, tuple("abcdefghij"), None, None)
    >>> [step.name for step in classifier_program(one).steps]
    ['conv1', 'conv2', 'conv3', 'dense1', 'dense2', 'node_softmax']
    """
    name = type(classifier.network).__name__
    return fused(read_program(onnx_model(classifier, name=name)))


def network_program(network: nn.Module, shape: tuple[int, ...]) -> Program:
    """Return what a network computes of one clip, up to what it returns.

    Parameters
    ----------
    network : nn.Module
        Left as it is.
    shape : tuple of int
        Of one clip, without the axis of the clips.

    Raises
    ------
    CoppiceError
        If the network has an operator that has no C, or none in ONNX, or takes no such clip.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(28, 2))
    >>> network_program(net, (1, 9)).outputs
    {'output': 'output'}
    """
    name = type(network).__name__
    network = copy.deepcopy(network).cpu().float().eval()
    example = torch.zeros(2, *shape)
    with torch.inference_mode():
        try:
            network(example)
        except RuntimeError as error:
            raise CoppiceError(f"{name} takes no clip of shape {shape}: {error}".splitlines()[0]) from error
    graph = onnx_graph(network, example, inputs="input", outputs=["output"])
    return fused(read_program(parse_onnx(graph.SerializeToString(), name)))


def file_program(model: OnnxFile) -> Program:
    """Return what an ONNX model computes.

    Raises
    ------
    CoppiceError
        If an operator has no C; if the front end is inside the model.
    """
    if model.metadata.get("input") == WAVEFORM:
        raise CoppiceError(
            f"{model.name} has its front end inside, which becomes C apart from the network; export it without "
            "--with-front-end, and say --with-front-end when you write the C."
        )
    return fused(read_program(model))


def precision_of(program: Program) -> str:
    """Return ``"int8"`` for a program that rounds values to 8 bits, else ``"float32"``."""
    return "int8" if any(step.grid is not None for step in program.steps) else "float32"
