"""Clips to verify C with: what the network takes of them, and the posteriors that are expected."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int16
from torch import Tensor

from coppice.audio.log_mel import log_mel
from coppice.core.errors import CoppiceError
from coppice.core.modes import eval_mode
from coppice.core.seeds import numpy_stream
from coppice.export.onnx_classifier import OnnxClassifier
from coppice.export.verify import noise_clips
from coppice.networks.classifier import Classifier

_NOISE = 8
TEST_CLIPS = 2  # as many as the test vector of a folder holds


@dataclass(frozen=True, eq=False)
class Material:
    """Clips, what is computed of them, and by whom.

    Attributes
    ----------
    name : str
        What the clips are.
    by : str
        Who computed the posteriors.
    features : ndarray of float32, shape (clips, ...)
        What the network takes.
    posteriors : ndarray of float64, shape (clips, classes)
    waveform : ndarray of int16, shape (samples,), or None
        The first clip as sound in 16 bits; None where the classifier cannot hear.
    heard : ndarray of float64, shape (classes,), or None
        The posteriors of that sound.
    """

    name: str
    by: str
    features: Float32[np.ndarray, "clips *shape"]
    posteriors: Float64[np.ndarray, "clips classes"]
    waveform: Int16[np.ndarray, " samples"] | None
    heard: Float64[np.ndarray, " classes"] | None


def material(classifier: Classifier | OnnxClassifier, clips: Float[Tensor, "clips samples"] | None = None) -> Material:
    """Let a classifier hear clips, or without them eight clips of seeded noise.

    Raises
    ------
    CoppiceError
        If clips do not fit or are not numbers, or front end or normalisation are not known and there are clips.
    """
    by = "PyTorch" if isinstance(classifier, Classifier) else "ONNX Runtime"
    name = "clips of seeded noise" if clips is None else "given clips"
    if isinstance(classifier, Classifier) and clips is None and _is_deaf(classifier):
        noise = numpy_stream(0, "verify").standard_normal((_NOISE, *classifier.input_shape[1:]), dtype=np.float32)
        return Material(name, by, noise, _outputs(classifier, torch.from_numpy(noise)), None, None)
    front_end = classifier.known_front_end()
    sounds = noise_clips(front_end) if clips is None else torch.as_tensor(clips).float()
    if sounds.ndim != 2 or not len(sounds) or sounds.shape[1] != front_end.samples:
        raise CoppiceError(
            f"clips of shape {tuple(sounds.shape)} do not fit: give (clips, {front_end.samples} samples), "
            f"{front_end.duration_s:g} s at {front_end.sample_rate} Hz."
        )
    if not torch.isfinite(sounds).all():
        raise CoppiceError("a clip to verify with holds values that are not numbers; leave it out.")
    pictures = torch.stack([log_mel(sound, front_end) for sound in sounds])
    posteriors = classifier.posteriors(pictures).numpy()
    if classifier.band_mean is None or classifier.band_std is None:  # the classifier has said so by now
        raise CoppiceError("the normalisation is not known; fine-tune the network, which measures it.")
    normalised = (pictures - classifier.band_mean[:, None]) / classifier.band_std[:, None]
    waveform = (sounds[0] * 32768).round().clamp(-32768, 32767).short()
    heard = classifier.posteriors_of_waveforms(waveform[None].float() / 32768).numpy()[0]
    return Material(name, by, normalised.unsqueeze(1).float().numpy(), posteriors, waveform.numpy(), heard)


def _is_deaf(classifier: Classifier) -> bool:
    return classifier.front_end is None or classifier.band_mean is None


@torch.inference_mode()
def _outputs(classifier: Classifier, inputs: Tensor) -> Float64[np.ndarray, "clips classes"]:
    with eval_mode(classifier.network):
        logits = classifier.network(inputs).double()
    return (logits.sigmoid() if classifier.score == "sigmoid" else logits.softmax(dim=1)).numpy()
