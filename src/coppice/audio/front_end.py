"""The front end: every constant between a waveform and its log-mel picture, under one name."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Float64

from coppice.audio.length import PADS
from coppice.audio.mel import SCALES, mel_filterbank
from coppice.audio.windows import COEFFICIENTS, window
from coppice.core.errors import CoppiceError, did_you_mean

VERSION = 1

# What a preset leaves to the user: how long a clip is and what follows a short one. Neither changes a frame.
_ALWAYS_FREE = {"duration_s", "pad"}

_DCASE2021: dict[str, Any] = {
    "sample_rate": 44100,
    "n_fft": 2048,
    "win_length": 1764,
    "hop_length": 882,
    "window": "hamming",
    "n_mels": 40,
    "fmin_hz": 0.0,
    "fmax_hz": 22050.0,
    "mel_scale": "slaney",
    "mel_norm": "slaney",
    "power": 1.0,
    "waveform_offset": 2.220446049250313e-16,
    "log_offset": 2.220446049250313e-16,
    "pad_mode": "reflect",
    "duration_s": 10.0,
    "pad": "zeros",
}
_LOGMEL: dict[str, Any] = {
    **_DCASE2021,
    "sample_rate": 32000,
    "win_length": 1280,
    "hop_length": 640,
    "window": "hann",
    "n_mels": 64,
    "fmin_hz": 50.0,
    "fmax_hz": 16000.0,
    "power": 2.0,
    "waveform_offset": 0.0,
    "log_offset": 1e-10,
}
PRESETS: dict[str, dict[str, Any]] = {"dcase2021": _DCASE2021, "logmel": _LOGMEL}
_FREE = {"dcase2021": _ALWAYS_FREE, "logmel": set(_LOGMEL)}


@dataclass(frozen=True)
class FrontEnd:
    """All constants from waveform to log-mel, checked where they are put together.

    Frames stand around multiples of the hop (the waveform is mirrored at both ends), and the last of the
    ``1 + samples // hop_length`` frames is dropped, as the DCASE 2021 Task 1 baseline does: 10 s give 500
    frames, not 501.

    Parameters
    ----------
    preset : {"dcase2021", "logmel"}
        Where the constants come from; ``dcase2021`` fixes all but ``duration_s`` and ``pad``.
    sample_rate : int
        In Hz, 1000 to 192000.
    n_fft, win_length, hop_length : int
        In samples; a window shorter than the FFT stands in its middle.
    window : {"hamming", "hann"}
        Periodic.
    n_mels : int
        Bands.
    fmin_hz, fmax_hz : float
        Edges of the lowest and highest band, up to half the sample rate.
    mel_scale : {"slaney", "htk"}
        See :func:`coppice.audio.mel.hz_to_mel`.
    mel_norm : {"slaney", None}
        Triangles of equal area, or of equal height.
    power : {1.0, 2.0}
        Magnitude or power spectrum.
    waveform_offset, log_offset : float >= 0
        Added to every sample; added to every band before the natural logarithm (above 0).
    pad_mode : {"reflect"}
        How the waveform continues beyond its ends.
    duration_s : float
        Length of one clip in seconds.
    pad : {"zeros", "repeat"}
        What follows a clip that is too short.

    Raises
    ------
    CoppiceError
        If a value cannot be, with the value and what would work.

    Examples
    --------
    >>> front_end("dcase2021", duration_s=5.0).shape
    (40, 250)
    """

    preset: str
    sample_rate: int
    n_fft: int
    win_length: int
    hop_length: int
    window: str
    n_mels: int
    fmin_hz: float
    fmax_hz: float
    mel_scale: str
    mel_norm: str | None
    power: float
    waveform_offset: float
    log_offset: float
    pad_mode: str
    duration_s: float
    pad: str

    def __post_init__(self) -> None:
        self._check_types()
        self._check_names()
        self._check_ranges()
        self._check_preset()
        # Refuse a window without samples and bands without a bin here, not at the first clip.
        window(self.window, self.win_length)
        self.filterbank()

    @property
    def samples(self) -> int:
        """Samples of one clip at ``sample_rate``."""
        return round(self.duration_s * self.sample_rate)

    @property
    def frames(self) -> int:
        """Frames of one clip: ``samples // hop_length``."""
        return self.samples // self.hop_length

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of one log-mel picture: (n_mels, frames)."""
        return self.n_mels, self.frames

    def filterbank(self) -> Float64[np.ndarray, "mels bins"]:
        """Return the mel filterbank, float64, shape (n_mels, n_fft // 2 + 1)."""
        return mel_filterbank(
            sample_rate=self.sample_rate,
            n_fft=self.n_fft,
            n_mels=self.n_mels,
            fmin_hz=self.fmin_hz,
            fmax_hz=self.fmax_hz,
            scale=self.mel_scale,
            norm=self.mel_norm,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able dictionary with a format version.

        Examples
        --------
        >>> FrontEnd.from_dict(front_end("logmel").to_dict()) == front_end("logmel")
        True
        """
        return {"version": VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, values: Any) -> "FrontEnd":
        """Rebuild a front end from :meth:`to_dict`; the content is checked, as it may come from anybody.

        Raises
        ------
        CoppiceError
            If a key is unknown or missing, a value has the wrong type or range, or the version is newer.
        """
        if not isinstance(values, dict):
            raise CoppiceError(f"a front end is a table of names and values, not {type(values).__name__}.")
        given = dict(values)
        version = given.pop("version", None)
        if version != VERSION:
            raise CoppiceError(f"front end version is {version!r}; this Coppice reads version {VERSION}.")
        known = [field.name for field in fields(cls)]
        for key in given:
            if key not in known:
                raise CoppiceError(f"front end has no setting {key!r}. {did_you_mean(str(key), known)}")
        missing = [name for name in known if name not in given]
        if missing:
            raise CoppiceError(f"front end lacks {', '.join(map(repr, missing))}.")
        return cls(**given)

    def _check_types(self) -> None:
        whole = ("sample_rate", "n_fft", "win_length", "hop_length", "n_mels")
        real = ("fmin_hz", "fmax_hz", "power", "waveform_offset", "log_offset", "duration_s")
        for name in whole:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise CoppiceError(f"{name} is {value!r}; give a whole number from 1 upwards.")
        for name in real:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise CoppiceError(f"{name} is {value!r}; give a number.")
            # One type, so that equal front ends have equal digests.
            object.__setattr__(self, name, float(value))

    def _check_names(self) -> None:
        choices: dict[str, tuple[Any, ...]] = {
            "preset": tuple(PRESETS),
            "window": tuple(COEFFICIENTS),
            "mel_scale": SCALES,
            "mel_norm": ("slaney", None),
            "power": (1.0, 2.0),
            "pad_mode": ("reflect",),
            "pad": PADS,
        }
        for name, allowed in choices.items():
            value = getattr(self, name)
            if value not in allowed:
                hint = "give " + " or ".join(repr(choice) for choice in allowed)
                raise CoppiceError(f"{name} is {value!r}; {hint}.")

    def _check_ranges(self) -> None:
        if not 1000 <= self.sample_rate <= 192_000:
            raise CoppiceError(f"sample_rate is {self.sample_rate} Hz; give 1000 to 192000.")
        if self.n_fft > 65536:
            raise CoppiceError(f"n_fft is {self.n_fft}; give at most 65536.")
        if self.win_length > self.n_fft:
            raise CoppiceError(f"win_length is {self.win_length}, longer than n_fft {self.n_fft}; make n_fft as long.")
        if not 0 <= self.fmin_hz < self.fmax_hz:
            raise CoppiceError(
                f"fmin_hz is {self.fmin_hz:g} and fmax_hz {self.fmax_hz:g}; give 0 <= fmin_hz < fmax_hz."
            )
        if self.fmax_hz > self.sample_rate / 2:
            raise CoppiceError(
                f"fmax_hz is {self.fmax_hz:g}, above half the sample rate; "
                f"at {self.sample_rate} Hz give at most {self.sample_rate / 2:g}."
            )
        if not 0 <= self.waveform_offset < 1:
            raise CoppiceError(f"waveform_offset is {self.waveform_offset:g}; give 0 or a tiny number such as 2.2e-16.")
        if not 0 < self.log_offset <= 1:
            raise CoppiceError(f"log_offset is {self.log_offset:g}; give a small number above 0, such as 1e-10.")
        if not 0 < self.duration_s <= 3600:
            raise CoppiceError(f"duration_s is {self.duration_s:g}; give a length above 0 and up to 3600 seconds.")
        if self.samples <= self.n_fft // 2 or self.frames < 1:
            needed = max(self.n_fft // 2 + 1, self.hop_length) / self.sample_rate
            raise CoppiceError(
                f"duration_s is {self.duration_s:g}, too short for one frame; give {needed:.3f} or more."
            )

    def _check_preset(self) -> None:
        for name, value in PRESETS[self.preset].items():
            given = getattr(self, name)
            if name not in _FREE[self.preset] and given != value:
                raise CoppiceError(
                    f"preset {self.preset!r} fixes {name} at {value!r}, not {given!r}; "
                    "use preset 'logmel' to choose constants freely."
                )


def front_end(preset: str, **overrides: Any) -> FrontEnd:
    """Make a front end from a preset.

    Parameters
    ----------
    preset : {"dcase2021", "logmel"}
        ``dcase2021``: the constants of the DCASE 2021 Task 1A baseline (repository
        marmoi/dcase2021_task1a_baseline), exactly. ``logmel``: a good start with every constant free.
    **overrides
        Fields of :class:`FrontEnd` to set. Where ``logmel`` gets another ``sample_rate`` and no ``fmax_hz``,
        the bands reach up to half the sample rate.

    Raises
    ------
    CoppiceError
        If the preset or a field is unknown, fixed by the preset, or out of range.

    Examples
    --------
    >>> front_end("dcase2021").shape
    (40, 500)
    >>> front_end("logmel", sample_rate=16000, duration_s=1.0).fmax_hz
    8000.0
    """
    if preset not in PRESETS:
        raise CoppiceError(f"front end {preset!r} is unknown. {did_you_mean(preset, PRESETS)}")
    constants = PRESETS[preset]
    for name in overrides:
        if name not in constants:
            raise CoppiceError(f"front end has no setting {name!r}. {did_you_mean(name, constants)}")
    rate = overrides.get("sample_rate")
    if preset == "logmel" and isinstance(rate, int) and "fmax_hz" not in overrides:
        overrides = {**overrides, "fmax_hz": rate / 2}
    return FrontEnd(preset=preset, **{**constants, **overrides})
