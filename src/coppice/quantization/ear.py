"""The front end in front of a quantized network: its numbers stay float32, because the logarithm spans many powers."""

from typing import Any

import numpy as np
import onnx
import torch
from jaxtyping import Float
from torch import Tensor, nn

from coppice.core.errors import CoppiceError
from coppice.export.front_end_graph import FrontEndGraph
from coppice.export.onnx_graph import onnx_graph
from coppice.export.posterior_graph import LOG_MEL, WAVEFORM
from coppice.export.runtimes import runtime
from coppice.export.verify import noise_clips
from coppice.networks.classifier import Classifier
from coppice.quantization.calibration import network_inputs

_PREFIX = "front_end/"
_TOLERANCE = 1e-2


class _Ear(nn.Module):
    """Waveform to normalised log-mel."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.front_end = FrontEndGraph(classifier.known_front_end())
        self.normalise = classifier.normalise

    def forward(self, waveform: Float[Tensor, "clips samples"]) -> Float[Tensor, "clips 1 mels frames"]:
        """Return what the network takes."""
        return self.normalise(self.front_end(waveform))


def with_ear(model: Any, classifier: Classifier) -> Any:
    """Put the front end and the normalisation of a classifier in front of a graph that takes normalised log-mel.

    Parameters
    ----------
    model : onnx.ModelProto
        Takes ``normalised_log_mel``.
    classifier : Classifier
        Its front end and normalisation are known.

    Returns
    -------
    onnx.ModelProto
        Takes ``waveform``.

    Raises
    ------
    CoppiceError
        If ONNX Runtime computes another normalised log-mel from it than PyTorch.
    """
    samples = classifier.known_front_end().samples
    ear = onnx_graph(_Ear(classifier).eval(), torch.zeros(2, samples), inputs=WAVEFORM, outputs=[LOG_MEL])
    _check(ear, classifier)
    ear = onnx.compose.add_prefix(ear, _PREFIX, rename_inputs=False, rename_outputs=False)
    ear.ir_version = model.ir_version
    whole = onnx.compose.merge_models(
        ear,
        model,
        io_map=[(LOG_MEL, LOG_MEL)],
        producer_name=model.producer_name,
        producer_version=model.producer_version,
    )
    onnx.checker.check_model(whole)
    return whole


def _check(ear: Any, classifier: Classifier) -> None:
    """Let ONNX Runtime and PyTorch hear the same noise; int8 behind it would hide what differs."""
    noise = noise_clips(classifier.known_front_end())
    session = runtime("onnxruntime").InferenceSession(ear.SerializeToString(), providers=["CPUExecutionProvider"])
    delta = float(np.abs(session.run(None, {WAVEFORM: noise.numpy()})[0] - network_inputs(classifier, noise)).max())
    if not delta <= _TOLERANCE:  # also where it is not a number
        raise CoppiceError(
            f"the exported front end differs from its own by up to {delta:.2g} standard deviations of a band (allowed: "
            f"{_TOLERANCE:g}); nothing was written."
        )
