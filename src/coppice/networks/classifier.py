"""A classifier: front end, network, labels and how logits become scores, in one object."""

from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coppice.audio.front_end import FrontEnd
from coppice.audio.log_mel import log_mel as log_mel_of
from coppice.core.errors import CoppiceError
from coppice.core.modes import eval_mode

SCORES = ("softmax", "sigmoid")


@dataclass(frozen=True, eq=False)
class Classifier:
    """What a checkpoint stores: everything between a waveform and its class posteriors.

    Attributes
    ----------
    network : nn.Module
        Takes normalised log-mel of shape (clips, 1, mels, frames), returns logits (clips, classes).
    front_end : FrontEnd or None
        How a waveform becomes log-mel; None for an imported network whose file does not say.
    labels : tuple of str
        The classes, in the order of the logits.
    band_mean, band_std : Tensor [shape=(mels,)] or None
        Per-band normalisation, in the front end's unit, measured on the training clips; None for an imported
        network whose file does not hold it.
    lineage : tuple of dict
        What was done to get here, oldest first: trained, pruned (with the plan), fine-tuned, quantized.
    metrics : dict
        What was measured last, with its conventions.
    stored_as : {"float32", "float16", "bfloat16", "dynamic_int8"}
        Number format of the parameters in the file. Arithmetic is always float32.
    score : {"softmax", "sigmoid"}
        How logits become posteriors: one class of several, or each class for itself (tagging).
    """

    network: nn.Module
    front_end: FrontEnd | None
    labels: tuple[str, ...]
    band_mean: Float[Tensor, " mels"] | None
    band_std: Float[Tensor, " mels"] | None
    lineage: tuple[dict[str, Any], ...] = ()
    metrics: dict[str, Any] = field(default_factory=dict)
    stored_as: str = "float32"
    score: str = "softmax"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the network's input for one clip: (1, 1, mels, frames), or what an imported network takes."""
        if self.front_end is not None:
            return (1, 1, *self.front_end.shape)
        shape = getattr(self.network, "input_shape", None)
        if shape is None:
            raise CoppiceError(
                f"the shape of {type(self.network).__name__}'s input is not known without a front end; give one."
            )
        return (1, *shape)

    def known_front_end(self) -> FrontEnd:
        """Return the front end.

        Raises
        ------
        CoppiceError
            If the network was imported from a file that does not name one.
        """
        if self.front_end is None:
            raise CoppiceError(
                "this classifier has no front end, because the file that it was imported from names none; load it "
                'with one: coppice.load(path, front_end="dcase2021"), or coppice import --front-end dcase2021.'
            )
        return self.front_end

    def after(self, network: nn.Module, *, stored_as: str = "float32", **done: Any) -> Self:
        """Return this classifier with another network, and one more entry in its lineage.

        Parameters
        ----------
        network : nn.Module
            What the network has become.
        stored_as : {"float32", "float16", "bfloat16", "dynamic_int8"}
            Number format of its parameters in a file.
        **done
            What was done, JSON-able; begins with ``verb``.
        """
        lineage = (*self.lineage, done)
        return replace(self, network=network, lineage=lineage, metrics={}, stored_as=stored_as)

    def normalise(self, log_mel: Float[Tensor, "clips mels frames"]) -> Float[Tensor, "clips 1 mels frames"]:
        """Subtract each band's mean and divide by its standard deviation.

        Raises
        ------
        CoppiceError
            If the network was imported from a file that does not hold them.
        """
        if self.band_mean is None or self.band_std is None:
            raise CoppiceError(
                "this classifier's normalisation is not known, because the file that it was imported from does not "
                "hold it; fine-tune it, which measures the bands of the training clips."
            )
        return ((log_mel - self.band_mean[:, None]) / self.band_std[:, None]).unsqueeze(1)

    @torch.inference_mode()
    def logits(
        self, log_mel: Float[Tensor, "clips mels frames"], *, batch_size: int = 64
    ) -> Float[Tensor, "clips classes"]:
        """Return float32 logits of log-mel clips, computed in eval mode; the network's mode is restored.

        Parameters
        ----------
        log_mel : Tensor [shape=(clips, mels, frames)], nats
            Not normalised.
        batch_size : int
            Clips computed at a time.

        Raises
        ------
        CoppiceError
            If the shape is not that of the front end.
        """
        expected = self.input_shape[2:]
        if log_mel.ndim != 3 or tuple(log_mel.shape[1:]) != expected:
            raise CoppiceError(
                f"log-mel of shape {tuple(log_mel.shape)} does not fit: this classifier takes (clips, "
                f"{expected[0]} mels, {expected[1]} frames)."
            )
        with eval_mode(self.network):
            parts = [self.network(self.normalise(batch)).float() for batch in log_mel.split(batch_size)]
        return torch.cat(parts) if parts else torch.empty(0, len(self.labels))

    def posteriors(
        self, log_mel: Float[Tensor, "clips mels frames"], *, batch_size: int = 64
    ) -> Float[Tensor, "clips classes"]:
        """Return float64 class probabilities: softmax or sigmoid of :meth:`logits`, as ``score`` says."""
        logits = self.logits(log_mel, batch_size=batch_size).double()
        return logits.sigmoid() if self.score == "sigmoid" else logits.softmax(dim=1)

    def posteriors_of_waveforms(
        self, waveforms: Float[Tensor, "clips samples"], *, batch_size: int = 64
    ) -> Float[Tensor, "clips classes"]:
        """Return float64 class probabilities of waveforms: :meth:`posteriors` of their log-mel.

        Parameters
        ----------
        waveforms : Tensor [shape=(clips, samples)], -1 to 1
            At the front end's sample rate and of its length.
        batch_size : int
            Clips computed at a time.

        Raises
        ------
        CoppiceError
            If front end or normalisation are not known, or the length is not the front end's.
        """
        front_end = self.known_front_end()
        if waveforms.ndim != 2 or waveforms.shape[1] != front_end.samples:
            raise CoppiceError(
                f"waveforms of shape {tuple(waveforms.shape)} do not fit: this classifier takes (clips, "
                f"{front_end.samples} samples), {front_end.duration_s:g} s at {front_end.sample_rate} Hz."
            )
        parts = [
            self.posteriors(torch.stack([log_mel_of(one, front_end) for one in part]), batch_size=batch_size)
            for part in (waveforms.split(batch_size) if len(waveforms) else ())
        ]
        return torch.cat(parts) if parts else torch.empty(0, len(self.labels), dtype=torch.float64)


def as_network(
    model: Classifier | nn.Module, example: Float[Tensor, "1 *shape"] | None = None
) -> tuple[nn.Module, Float[Tensor, "1 *shape"]]:
    """Return the network in a classifier or a bare module, and one example input for it.

    Parameters
    ----------
    model : Classifier or nn.Module
        A classifier knows the shape of its input; a bare module does not.
    example : Tensor, optional
        One input for a bare module, batch of 1.

    Raises
    ------
    CoppiceError
        If ``model`` is a bare module and no example is given, or neither of the two.

    Examples
    --------
    >>> network, example = as_network(nn.Conv1d(1, 4, 3), torch.zeros(1, 1, 16))
    >>> example.shape
    torch.Size([1, 1, 16])
    """
    if isinstance(model, Classifier):
        if example is None:
            parameter = next(model.network.parameters(), torch.empty(0))
            generator = torch.Generator().manual_seed(0)
            example = torch.randn(model.input_shape, generator=generator).to(parameter.device, parameter.dtype)
        return model.network, example
    if not isinstance(model, nn.Module):
        raise CoppiceError(
            f"a {type(model).__name__} is not a network; give a torch.nn.Module or what coppice.load returns."
        )
    if example is None:
        raise CoppiceError(
            f"the shape of {type(model).__name__}'s input is not known; give one example input, such as "
            "example=torch.randn(1, 1, 40, 500)."
        )
    return model, example
