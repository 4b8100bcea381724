"""Which augmentations a fit uses, as plain data; checked where it is put together."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from coppice.core.errors import CoppiceError


@dataclass(frozen=True)
class TimeRoll:
    """See :func:`coppice.training.augment.time_roll.time_roll`.

    Attributes
    ----------
    seconds : float > 0
        Clips are rolled by up to so much, to either side, in whole frames.
    """

    seconds: float = 0.1

    def __post_init__(self) -> None:
        _check("time_roll.seconds", self.seconds, 0 < self.seconds <= 60, "a positive number, such as 0.1")


@dataclass(frozen=True)
class SpecAugment:
    """See :func:`coppice.training.augment.spec_augment.spec_augment`.

    Attributes
    ----------
    freq_masks, time_masks : int >= 0
        How many stretches of bands and of frames each clip loses.
    freq_bands, time_frames : int >= 0
        Each is narrower than this.
    """

    freq_masks: int = 1
    freq_bands: int = 8
    time_masks: int = 0
    time_frames: int = 0

    def __post_init__(self) -> None:
        for name in ("freq_masks", "freq_bands", "time_masks", "time_frames"):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 4096
            _check(f"spec_augment.{name}", value, whole, "a whole number from 0 upwards")
        if not (self.freq_masks and self.freq_bands) and not (self.time_masks and self.time_frames):
            raise CoppiceError(
                "spec_augment masks nothing; give freq_masks and freq_bands, or time_masks and time_frames."
            )


@dataclass(frozen=True)
class FreqMixStyle:
    """See :func:`coppice.training.augment.freq_mixstyle.freq_mixstyle`.

    Attributes
    ----------
    probability : float in (0, 1]
        Of a batch to be mixed.
    alpha : float > 0
        λ comes from Beta(α, α).
    """

    probability: float = 0.4
    alpha: float = 0.3

    def __post_init__(self) -> None:
        _check("freq_mixstyle.probability", self.probability, 0 < self.probability <= 1, "a number above 0, up to 1")
        _check("freq_mixstyle.alpha", self.alpha, 0 < self.alpha <= 100, "a positive number, such as 0.3")


@dataclass(frozen=True)
class Gain:
    """See :func:`coppice.training.augment.gain.gain`.

    Attributes
    ----------
    decibels : float > 0
        Clips get louder or softer by up to so much.
    """

    decibels: float = 6.0

    def __post_init__(self) -> None:
        _check("gain.decibels", self.decibels, 0 < self.decibels <= 60, "a positive number, such as 6")


@dataclass(frozen=True)
class DeviceIR:
    """Clips as other devices would have recorded them: waveforms convolved with impulse responses.

    Attributes
    ----------
    folder : str
        Of impulse responses, one sound file each.
    probability : float in (0, 1]
        Of a clip to be replaced by one of its copies, anew in every epoch.
    copies : int >= 1
        Impulse responses that are drawn for each clip, before training; the features of the copies are stored.
    devices : tuple of str, optional
        Only clips of these recording devices; of all if not given.
    """

    folder: str
    probability: float = 0.5
    copies: int = 2
    devices: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        _check("device_ir.probability", self.probability, 0 < self.probability <= 1, "a number above 0, up to 1")
        whole = isinstance(self.copies, int) and not isinstance(self.copies, bool) and 1 <= self.copies <= 100
        _check("device_ir.copies", self.copies, whole, "a whole number from 1 to 100")


@dataclass(frozen=True)
class Augment:
    """The augmentations of a fit, in the order in which they act; None: not used.

    Examples
    --------
    >>> Augment(gain=Gain(3.0)).to_dict()
    {'gain': {'decibels': 3.0}}
    """

    device_ir: DeviceIR | None = None
    gain: Gain | None = None
    time_roll: TimeRoll | None = None
    spec_augment: SpecAugment | None = None
    freq_mixstyle: FreqMixStyle | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return those that are used, as plain data."""
        used = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: asdict(part) for name, part in used.items() if part is not None}


AUGMENTATIONS: dict[str, type] = {
    "device_ir": DeviceIR,
    "gain": Gain,
    "time_roll": TimeRoll,
    "spec_augment": SpecAugment,
    "freq_mixstyle": FreqMixStyle,
}


def _check(name: str, value: object, fine: bool, wanted: str) -> None:
    if not fine:
        raise CoppiceError(f"{name} is {value!r}; give {wanted}.")
