"""Whether an exported file says the same as the classifier in PyTorch, on the same clips."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from coppice.audio.front_end import FrontEnd
from coppice.audio.log_mel import log_mel
from coppice.core.errors import CoppiceError
from coppice.core.modes import eval_mode
from coppice.core.seeds import numpy_stream
from coppice.networks.classifier import Classifier

TOLERANCE = 1e-4
TOLERANCES = {"float32": TOLERANCE, "float16": 1e-2, "int8": 0.25}  # of a posterior, by the format of the weights
NOISE_CLIPS = 8
_AT_ONCE = 8


@dataclass(frozen=True)
class Agreement:
    """How far the posteriors of a file are from those in PyTorch.

    Attributes
    ----------
    clips : int
        Clips that both heard.
    material : str
        What they were: ``"given clips"`` or ``"clips of seeded noise"``.
    max_delta : float
        Largest absolute difference of a posterior.
    top1 : float
        Share of the clips that got the same class, 0 to 1.
    tolerance : float
        What ``max_delta`` was allowed to be.
    """

    clips: int
    material: str
    max_delta: float
    top1: float
    tolerance: float


def compare(
    found: Float[np.ndarray, "clips classes"],
    expected: Float64[np.ndarray, "clips classes"],
    *,
    material: str,
    tolerance: float = TOLERANCE,
) -> Agreement:
    """Compare posteriors.

    Parameters
    ----------
    found, expected : ndarray, shape (clips, classes)
        Of the file, and in PyTorch.
    material : str
        What the clips were.
    tolerance : float
        Largest difference allowed.

    Raises
    ------
    CoppiceError
        If the shapes differ, a value is not a number, or a difference is larger than allowed.

    Examples
    --------
    >>> compare(np.array([[0.5, 0.5]]), np.array([[0.50001, 0.49999]]), material="given clips").max_delta
    1.0000000000010001e-05
    """
    if found.shape != expected.shape:
        raise CoppiceError(f"the exported model gives posteriors of shape {found.shape}, not {expected.shape}.")
    if not np.isfinite(expected).all():
        raise CoppiceError("the network's output in PyTorch is not a number; train again with a smaller learning rate.")
    delta = float(np.abs(found - expected).max())
    same = float((found.argmax(axis=1) == expected.argmax(axis=1)).mean())
    if not delta <= tolerance:  # also where it is not a number
        raise CoppiceError(
            f"the exported model is not the network: posteriors on {len(found)} {material} differ by up to "
            f"{delta:.2g} (allowed: {tolerance:g}), and the class is the same for {same:.1%}; nothing was written."
        )
    return Agreement(clips=len(found), material=material, max_delta=delta, top1=same, tolerance=tolerance)


def verify(
    run: Callable[[Float32[np.ndarray, "clips *shape"]], Float[np.ndarray, "clips classes"]],
    classifier: Classifier,
    *,
    with_front_end: bool,
    clips: Float[Tensor, "clips samples"] | None = None,
    tolerance: float = TOLERANCE,
    material: str = "given clips",
) -> Agreement:
    """Let an exported model and the classifier hear the same clips.

    Parameters
    ----------
    run : callable
        The exported model: a batch of inputs to posteriors.
    classifier : Classifier
        What it was exported from.
    with_front_end : bool
        Whether the model takes waveforms.
    clips : Tensor, shape (clips, samples), optional
        Waveforms at the front end's sample rate and length. Without them, eight clips of noise: waveforms from full
        scale down to -120 dB and silence, or, where front end or normalisation are not known, standard normal values.
    tolerance : float
        Largest difference of a posterior allowed.
    material : str
        What the clips are, if there are any.

    Raises
    ------
    CoppiceError
        If the model differs by more, or the clips do not fit.
    """
    material = "clips of seeded noise" if clips is None else material
    hears = classifier.front_end is not None and classifier.band_mean is not None
    if clips is None and not with_front_end and not hears:
        inputs = _normal((NOISE_CLIPS, *classifier.input_shape[1:]))
        expected = _posteriors(classifier, inputs)
    else:
        front_end = classifier.known_front_end()
        waveforms = noise_clips(front_end) if clips is None else _fitting(clips, front_end)
        heard = torch.stack([log_mel(waveform, front_end) for waveform in waveforms])
        expected = classifier.posteriors(heard)
        inputs = waveforms if with_front_end else classifier.normalise(heard)
    found = np.concatenate([run(part.numpy()) for part in inputs.float().split(_AT_ONCE)])
    return compare(found, expected.numpy(), material=material, tolerance=tolerance)


def model_inputs(
    classifier: Classifier, clips: Float[Tensor, "clips samples"], *, with_front_end: bool
) -> Float[Tensor, "clips *shape"]:
    """Return what an exported model takes of waveforms: themselves, or their normalised log-mel.

    Raises
    ------
    CoppiceError
        If the clips do not fit, or front end or normalisation are not known.
    """
    front_end = classifier.known_front_end()
    waveforms = _fitting(clips, front_end)
    if with_front_end:
        return waveforms
    return classifier.normalise(torch.stack([log_mel(waveform, front_end) for waveform in waveforms])).float()


def noise_clips(front_end: FrontEnd) -> Float[Tensor, "clips samples"]:
    """Return eight clips of white noise, the same at each call: each 20 dB below the one before, the last silent.

    Examples
    --------
    >>> from coppice.audio.front_end import front_end
    >>> noise_clips(front_end("dcase2021", duration_s=1.0)).abs().amax(dim=1)[[0, -1]].tolist()
    [1.0, 0.0]
    """
    levels = torch.tensor([*(10.0**-step for step in range(NOISE_CLIPS - 1)), 0.0])
    return _normal((NOISE_CLIPS, front_end.samples)).mul(levels[:, None]).clamp(-1.0, 1.0)


def _normal(shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(numpy_stream(0, "verify").standard_normal(shape, dtype=np.float32))


def _fitting(clips: Any, front_end: FrontEnd) -> Tensor:
    waveforms = torch.as_tensor(clips)
    if waveforms.ndim != 2 or not len(waveforms) or waveforms.shape[1] != front_end.samples:
        raise CoppiceError(
            f"clips of shape {tuple(waveforms.shape)} do not fit: give (clips, {front_end.samples} samples), "
            f"{front_end.duration_s:g} s at {front_end.sample_rate} Hz."
        )
    if not torch.isfinite(waveforms).all():
        raise CoppiceError("a clip to verify with holds values that are not numbers; leave it out.")
    return waveforms.float()


@torch.inference_mode()
def _posteriors(classifier: Classifier, inputs: Tensor) -> Tensor:
    with eval_mode(classifier.network):
        logits = classifier.network(inputs).double()
    return logits.sigmoid() if classifier.score == "sigmoid" else logits.softmax(dim=1)
