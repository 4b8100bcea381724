"""Clips as a network's inputs: what ranges are measured on before numbers are rounded."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from coppice.audio.front_end import FrontEnd
from coppice.audio.log_mel import log_mel
from coppice.core.errors import CoppiceError
from coppice.networks.classifier import Classifier

FEWEST = 8


def network_inputs(classifier: Classifier, clips: Any, *, what: str = "clips") -> Float32[np.ndarray, "clips *shape"]:
    """Return clips as the network takes them, in float32.

    Parameters
    ----------
    classifier : Classifier
        Left as it is.
    clips : Tensor
        Log-mel (clips, mels, frames), not normalised, or waveforms (clips, samples) at the front end's rate and of its
        length. For a network whose front end or normalisation is not known: its own inputs, (clips, ...).
    what : str
        What they are called in messages.

    Raises
    ------
    CoppiceError
        If there are none, their shape fits none of these, or a value is not a number.

    Examples
    --------
    >>> from coppice.audio.front_end import front_end
    >>> from coppice.networks.dcase2021 import DCASE2021
    >>> ear, bands = front_end("dcase2021", duration_s=1.0), (torch.zeros(40), torch.ones(40))
    >>> one = Classifier(DCASE2021(frames=50), ear, tuple("abcdefghij"), *bands)
    >>> network_inputs(one, torch.zeros(3, 40, 50)).shape, network_inputs(one, torch.zeros(3, 44100)).shape
    ((3, 1, 40, 50), (3, 1, 40, 50))
    """
    given = torch.as_tensor(clips)
    front_end = classifier.front_end
    hears = front_end is not None and classifier.band_mean is not None
    shapes = _shapes(classifier, front_end, hears=hears)
    fitting = [kind for kind, shape in shapes.items() if tuple(given.shape[1:]) == shape]
    if not given.ndim or not len(given) or not fitting or not given.is_floating_point():
        said = " or ".join(f"{kind} (clips, {', '.join(map(str, shape))})" for kind, shape in shapes.items())
        raise CoppiceError(f"{what} of shape {tuple(given.shape)} do not fit: give {said}.")
    if not torch.isfinite(given).all():
        row = int((~torch.isfinite(given)).flatten(1).any(dim=1).nonzero()[0])
        raise CoppiceError(f"number {row} of the {what} holds values that are not numbers; leave it out.")
    given = given.detach().cpu().float()
    if hears and front_end is not None:
        given = classifier.normalise(_as_log_mel(given, front_end))
    return given.contiguous().numpy()


def check_calibration(inputs: Float32[np.ndarray, "clips *shape"]) -> None:
    """Refuse inputs from which no range can be read.

    Raises
    ------
    CoppiceError
        If there are fewer than eight, or all are the same, as of silence.

    Examples
    --------
    >>> check_calibration(np.zeros((8, 1, 40, 50), np.float32))
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: all 8 calibration clips are the same, which silence would be; give ...
    """
    if len(inputs) < FEWEST:
        raise CoppiceError(
            f"{len(inputs)} calibration clips are too few for the ranges of activations; give {FEWEST} or more, "
            "usually 100, of the training part."
        )
    if (inputs == inputs[:1]).all():
        raise CoppiceError(
            f"all {len(inputs)} calibration clips are the same, which silence would be; give clips that differ."
        )


def _shapes(classifier: Classifier, front_end: FrontEnd | None, *, hears: bool) -> dict[str, tuple[int, ...]]:
    if hears and front_end is not None:
        return {"log-mel": front_end.shape, "waveforms": (front_end.samples,)}
    return {"the network's inputs": classifier.input_shape[1:]}


def _as_log_mel(clips: Tensor, front_end: FrontEnd) -> Tensor:
    return clips if clips.ndim == 3 else torch.stack([log_mel(clip, front_end) for clip in clips])
