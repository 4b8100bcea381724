"""What each augmentation makes of one clip at its strongest, to be looked at."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Float32

from coppice.audio.front_end import FrontEnd
from coppice.audio.impulse_responses import open_impulse_responses, through_device
from coppice.audio.log_mel import log_mel
from coppice.core.errors import CoppiceError, did_you_mean
from coppice.core.seeds import numpy_stream
from coppice.training.augment.augmenter import Augmenter
from coppice.training.augment.freq_mixstyle import Mix, freq_mixstyle
from coppice.training.augment.gain import gain
from coppice.training.augment.settings import AUGMENTATIONS, Augment
from coppice.training.augment.time_roll import time_roll

MIXUP = "mixup"
NAMES = (*AUGMENTATIONS, MIXUP)


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture.

    Parameters
    ----------
    name : str
        Of the augmentation; ``plain`` for none.
    note : str
        What was done, such as ``+6 dB``.
    log_mel : ndarray of float32, shape (mels, frames)
        Not normalised.
    """

    name: str
    note: str
    log_mel: Float32[np.ndarray, "mels frames"]


def chosen_augmentations(names: Sequence[str], *, responses: str | None) -> tuple[Augment, float]:
    """Return augmentations by name with their usual strengths, and that of mixup, 0 without it.

    Parameters
    ----------
    names : sequence of str
        Of :data:`NAMES`.
    responses : str or None
        Folder of impulse responses, for ``device_ir``.

    Raises
    ------
    CoppiceError
        If a name is unknown, or ``device_ir`` has no folder.

    Examples
    --------
    >>> chosen_augmentations(["gain", "mixup"], responses=None)[0].to_dict()
    {'gain': {'decibels': 6.0}}
    >>> chosen_augmentations(["gian"], responses=None)
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: there is no augmentation 'gian'. Did you mean 'gain'?
    """
    for name in names:
        if name not in NAMES:
            raise CoppiceError(f"there is no augmentation {name!r}. {did_you_mean(name, NAMES)}")
    if "device_ir" in names and responses is None:
        raise CoppiceError("device_ir needs a folder of impulse responses; give --responses FOLDER.")
    given = {"device_ir": {"folder": responses, "copies": 1}}
    made = {name: AUGMENTATIONS[name](**given.get(name, {})) for name in names if name != MIXUP}
    return Augment(**made), 0.3 if MIXUP in names else 0.0


def augmented_panels(
    waveforms: Sequence[Float32[np.ndarray, " samples"]],
    front_end: FrontEnd,
    augment: Augment,
    *,
    mixup: float = 0.0,
    seed: int = 0,
) -> list[Panel]:
    """Return the log-mel of the first waveform, plain and with each augmentation alone.

    Each is as strong as it gets: the highest gain, the longest roll, all of the other clip's levels, half of the other
    clip. Masks and the impulse response are drawn.

    Parameters
    ----------
    waveforms : sequence of ndarray
        At the front end's rate and length. The second one is whom ``freq_mixstyle`` and ``mixup`` mix the first with.
    front_end : FrontEnd
        Waveform to log-mel.
    augment : Augment
        Which augmentations, and how strong.
    mixup : float
        Strength of mixup; 0: not shown.
    seed : int
        Of what is drawn.

    Raises
    ------
    CoppiceError
        If two clips are needed and there is one, or an augmentation cannot be had.
    """
    if len(waveforms) < 2 and (augment.freq_mixstyle or mixup):
        raise CoppiceError("freq_mixstyle and mixup mix two clips; give a source with two clips, or leave them out.")
    plain = torch.stack([log_mel(waveform, front_end) for waveform in waveforms])[:, None]
    found = [Panel("plain", "", plain[0, 0].numpy())]
    for name in (one.name for one in fields(augment)):
        said = getattr(augment, name)
        if said is not None:
            random = numpy_stream(seed, "augment", name, 0, 0)
            note, picture = _shown(name, augment, waveforms[0], plain, front_end, random, seed)
            found.append(Panel(name, note, picture.numpy()))
    if mixup:
        found.append(Panel(MIXUP, "half of each", plain[:2, 0].mean(0).numpy()))
    return found


def _shown(
    name: str,
    augment: Augment,
    waveform: Float32[np.ndarray, " samples"],
    plain: torch.Tensor,
    front_end: FrontEnd,
    random: np.random.Generator,
    seed: int,
) -> tuple[str, torch.Tensor]:
    if name == "device_ir" and augment.device_ir is not None:
        responses = open_impulse_responses(augment.device_ir.folder)
        number = int(random.integers(len(responses)))
        response = responses.read(number, sample_rate=front_end.sample_rate, resampler=front_end.resampler)
        return responses.files[number].stem, log_mel(through_device(waveform, response), front_end)
    if name == "gain" and augment.gain is not None:
        decibels = augment.gain.decibels
        return f"+{decibels:g} dB", gain(plain[:1], np.array([decibels]), front_end)[0, 0]
    if name == "freq_mixstyle" and augment.freq_mixstyle is not None:
        return "other levels", freq_mixstyle(plain[:2], Mix(np.zeros(2), np.array([1, 0])))[0, 0]
    only = Augmenter(
        Augment(**{name: getattr(augment, name)}),
        front_end,
        torch.zeros(front_end.n_mels),
        torch.ones(front_end.n_mels),
        seed=seed,
    )
    if name == "time_roll":
        return f"{only.most_frames} frames", time_roll(plain[:1], np.array([only.most_frames]))[0, 0]
    return "", only(plain[:1], epoch=0, step=0)[0, 0]
