"""An augmenter: all augmentations of a fit, on the normalised batches that its network takes."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from coppice.audio.front_end import FrontEnd
from coppice.core.errors import CoppiceError
from coppice.core.seeds import numpy_stream
from coppice.training.augment.device_ir import DeviceCopies, draw_copies, with_copies
from coppice.training.augment.freq_mixstyle import draw_mix, freq_mixstyle
from coppice.training.augment.gain import draw_gains, gain, silence
from coppice.training.augment.settings import Augment
from coppice.training.augment.spec_augment import draw_masks, spec_augment
from coppice.training.augment.time_roll import draw_shifts, time_roll


@dataclass(frozen=True, eq=False)
class Augmenter:
    """Augments batches; what is drawn depends on (seed, epoch, step) alone, on every device.

    Parameters
    ----------
    settings : Augment
        Which augmentations, and how strong.
    front_end : FrontEnd
        Of the clips.
    band_mean, band_std : Tensor, shape (mels,)
        The batches hold ``(log_mel − mean) / std``.
    copies : DeviceCopies, optional
        With ``device_ir``.
    seed : int
        Of the fit.

    Raises
    ------
    CoppiceError
        If an augmentation cannot be had with the front end.

    Examples
    --------
    >>> from coppice.audio.front_end import front_end
    >>> from coppice.training.augment.settings import Gain
    >>> ear = front_end("dcase2021", duration_s=0.5)
    >>> louder = Augmenter(Augment(gain=Gain(6)), ear, torch.zeros(40), torch.ones(40))
    >>> louder(torch.zeros(2, 1, 40, 25), epoch=0, step=0).shape
    torch.Size([2, 1, 40, 25])
    """

    settings: Augment
    front_end: FrontEnd
    band_mean: Float[Tensor, " mels"]
    band_std: Float[Tensor, " mels"]
    copies: DeviceCopies | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        said, ear = self.settings, self.front_end
        if said.gain is not None:
            gain(torch.zeros(1, 1, 1, 1), np.zeros(1), ear)
        if said.time_roll is not None and self.most_frames == 0:
            raise CoppiceError(
                f"time_roll.seconds is {said.time_roll.seconds:g}, which is less than half a frame; give at least "
                f"{ear.hop_length / ear.sample_rate:g}, which is one."
            )
        if said.spec_augment is not None:
            silence(ear)
            for name, size, what in (("freq_bands", ear.shape[0], "bands"), ("time_frames", ear.shape[1], "frames")):
                if getattr(said.spec_augment, name) > size:
                    raise CoppiceError(
                        f"spec_augment.{name} is {getattr(said.spec_augment, name)} but the clips have {size} {what}; "
                        f"give at most {size}."
                    )

    @property
    def most_frames(self) -> int:
        """How far ``time_roll`` rolls at most, in frames; 0 without it."""
        seconds = self.settings.time_roll.seconds if self.settings.time_roll else 0.0
        return round(seconds * self.front_end.sample_rate / self.front_end.hop_length)

    def __call__(
        self,
        inputs: Float[Tensor, "clips 1 mels frames"],
        clips: Int[Tensor, " clips"] | None = None,
        *,
        epoch: int,
        step: int,
    ) -> Float[Tensor, "clips 1 mels frames"]:
        """Return an augmented batch.

        Parameters
        ----------
        inputs : Tensor
            Normalised log-mel; left as it is.
        clips : Tensor of int, optional
            Which training clips they are, for ``device_ir``.
        epoch, step : int
            When, from 0.
        """
        said, count = self.settings, len(inputs)

        def stream(what: str) -> np.random.Generator:
            return numpy_stream(self.seed, "augment", what, epoch, step)

        mean, std = (t.to(inputs.device)[:, None] for t in (self.band_mean, self.band_std))
        if said.device_ir is not None and self.copies is not None and clips is not None:
            rows = draw_copies(
                stream("device_ir"), clips.cpu().numpy(), self.copies, probability=said.device_ir.probability
            )
            chosen = torch.from_numpy(self.copies.log_mel[rows[rows >= 0]]).to(inputs.device)
            inputs = with_copies(inputs, ((chosen - mean) / std)[:, None], rows)
        if said.gain is not None:
            decibels = draw_gains(stream("gain"), count, decibels=said.gain.decibels)
            inputs = (gain(inputs * std + mean, decibels, self.front_end) - mean) / std
        if said.time_roll is not None:
            inputs = time_roll(inputs, draw_shifts(stream("time_roll"), count, most=self.most_frames))
        if said.spec_augment is not None:
            mask, (mels, frames) = said.spec_augment, inputs.shape[2:]
            bands = draw_masks(stream("freq_masks"), count, size=mels, masks=mask.freq_masks, most=mask.freq_bands)
            times = draw_masks(stream("time_masks"), count, size=frames, masks=mask.time_masks, most=mask.time_frames)
            fill = (silence(self.front_end) - self.band_mean) / self.band_std
            inputs = spec_augment(inputs, bands=bands, frames=times, fill=fill)
        if said.freq_mixstyle is not None:
            mixed = said.freq_mixstyle
            mix = draw_mix(stream("freq_mixstyle"), count, probability=mixed.probability, alpha=mixed.alpha)
            inputs = inputs if mix is None else freq_mixstyle(inputs, mix)
        return inputs
