"""The front end: every constant between a waveform and its log-mel picture, under one name."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Float64

from coppice.audio.length import PADS
from coppice.audio.mel import SCALES, mel_filterbank
from coppice.audio.presets import FREE, PRESETS
from coppice.audio.resample import RESAMPLERS
from coppice.audio.windows import COEFFICIENTS, window
from coppice.core.errors import CoppiceError, did_you_mean

VERSION = 2

# What a front end of version 1 meant by the constants that it did not have.
_VERSION_1: dict[str, Any] = {
    "resampler": "soxr_hq",
    "preemphasis": 0.0,
    "window_periodic": True,
    "drop_last_frame": True,
    "log": "natural",
    "log_floor": 0.0,
    "log_shift": 0.0,
    "log_divisor": 1.0,
    "clip_scaling": None,
}


@dataclass(frozen=True)
class FrontEnd:
    """All constants from a sound file's waveform to its log-mel picture, checked where they are put together.

    The constants stand in the order in which they act. Frames stand around multiples of the hop (the waveform
    continues beyond both ends), ``1 + samples // hop_length`` of them where the last one is kept.

    Parameters
    ----------
    preset : str
        Where the constants come from (:mod:`coppice.audio.presets`); a published one fixes all but ``duration_s``
        and ``pad``.
    sample_rate : int
        In Hz, 1000 to 192000.
    resampler : {"soxr_hq", "sinc_hann"}
        What brings files of other rates there (:func:`coppice.audio.resample.resample`).
    waveform_offset : float in [0, 1)
        Added to every sample.
    preemphasis : float in [0, 1]
        ``a`` of ``y[n] = x[n + 1] - a x[n]``, which has one sample less than ``x``; 0: none.
    n_fft, win_length, hop_length : int
        In samples; a window shorter than the FFT stands in its middle.
    window : {"hamming", "hann"}
        See :func:`coppice.audio.windows.window`.
    window_periodic : bool
        Periodic or symmetric.
    pad_mode : {"reflect", "constant"}
        How the waveform continues beyond its ends by ``n_fft // 2`` samples: mirrored, or as silence.
    drop_last_frame : bool
        Whether the last frame is left out, as the DCASE 2021 Task 1 baseline does: 10 s give 500, not 501.
    power : {1.0, 2.0}
        Magnitude or power spectrum.
    n_mels : int
        Bands, 1 to 1024.
    fmin_hz, fmax_hz : float
        Edges of the lowest and highest band, up to half the sample rate.
    mel_scale : {"slaney", "htk", "kaldi"}
        See :func:`coppice.audio.mel.mel_filterbank`.
    mel_norm : {"slaney", None}
        Triangles of equal area, or of equal height.
    log : {"natural", "decibel"}
        ``ln x``, or ``10 log10 x`` of a power and ``20 log10 x`` of a magnitude spectrum.
    log_offset, log_floor : float in [0, 1]
        Before the logarithm, ``log_offset`` is added to every band, then what lies below ``log_floor`` is lifted to
        it. One of them is above 0.
    log_shift, log_divisor : float
        After the logarithm, every value becomes ``(value + log_shift) / log_divisor``; the divisor is above 0.
    clip_scaling : {"peak_int16", None}
        ``"peak_int16"``: a clip's values are divided by the largest absolute one where that is above 1, then
        rounded towards 0 to multiples of 1/32767, as the DCASE 2022 baseline stores them.
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
    resampler: str
    waveform_offset: float
    preemphasis: float
    n_fft: int
    win_length: int
    hop_length: int
    window: str
    window_periodic: bool
    pad_mode: str
    drop_last_frame: bool
    power: float
    n_mels: int
    fmin_hz: float
    fmax_hz: float
    mel_scale: str
    mel_norm: str | None
    log: str
    log_offset: float
    log_floor: float
    log_shift: float
    log_divisor: float
    clip_scaling: str | None
    duration_s: float
    pad: str

    def __post_init__(self) -> None:
        self._check_types()
        self._check_names()
        self._check_ranges()
        self._check_preset()
        # Refuse a window without samples and bands without a bin here, not at the first clip.
        self.shaping_window()
        self.filterbank()

    @property
    def samples(self) -> int:
        """Samples of one clip at ``sample_rate``."""
        return round(self.duration_s * self.sample_rate)

    @property
    def frames(self) -> int:
        """Frames of one clip."""
        return self.frames_of(self.samples)

    @property
    def min_samples(self) -> int:
        """Samples of the shortest waveform that gives a frame."""
        mirrored = self.n_fft // 2 + 1 if self.pad_mode == "reflect" else 1
        hop = self.hop_length if self.drop_last_frame else 1
        return max(mirrored, hop) + (self.preemphasis > 0)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of one log-mel picture: (n_mels, frames)."""
        return self.n_mels, self.frames

    def frames_of(self, samples: int) -> int:
        """Return how many frames a waveform of so many samples gives."""
        samples -= self.preemphasis > 0
        if self.drop_last_frame:
            return samples // self.hop_length
        return 1 + (samples - self.n_fft % 2) // self.hop_length  # an odd FFT continues one sample less

    def shaping_window(self) -> Float64[np.ndarray, "win_length"]:
        """Return the window, float64, shape (win_length,)."""
        return window(self.window, self.win_length, periodic=self.window_periodic)

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
        """Return a JSON-able dictionary with a format version, the lowest that can hold the constants.

        Thereby a front end that version 1 could hold keeps its digest, which names feature stores.

        Examples
        --------
        >>> FrontEnd.from_dict(front_end("panns32k").to_dict()) == front_end("panns32k")
        True
        """
        values = asdict(self)
        if all(values[name] == meant for name, meant in _VERSION_1.items()):
            return {"version": 1, **{name: value for name, value in values.items() if name not in _VERSION_1}}
        return {"version": VERSION, **values}

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
        if isinstance(version, bool) or version not in (1, VERSION):
            raise CoppiceError(f"front end version is {version!r}; this Coppice reads versions 1 and {VERSION}.")
        implied = _VERSION_1 if version == 1 else {}
        known = [field.name for field in fields(cls) if field.name not in implied]
        for key in given:
            if key not in known:
                raise CoppiceError(f"front end has no setting {key!r}. {did_you_mean(str(key), known)}")
        missing = [name for name in known if name not in given]
        if missing:
            raise CoppiceError(f"front end lacks {', '.join(map(repr, missing))}.")
        return cls(**given, **implied)

    def _check_types(self) -> None:
        whole = ("sample_rate", "n_fft", "win_length", "hop_length", "n_mels")
        logarithm = ("log_offset", "log_floor", "log_shift", "log_divisor")
        real = ("waveform_offset", "preemphasis", "power", "fmin_hz", "fmax_hz", *logarithm, "duration_s")
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
        for name in ("window_periodic", "drop_last_frame"):
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise CoppiceError(f"{name} is {value!r}; give true or false.")

    def _check_names(self) -> None:
        choices: dict[str, tuple[Any, ...]] = {
            "preset": tuple(PRESETS),
            "resampler": RESAMPLERS,
            "window": tuple(COEFFICIENTS),
            "pad_mode": ("reflect", "constant"),
            "power": (1.0, 2.0),
            "mel_scale": SCALES,
            "mel_norm": ("slaney", None),
            "log": ("natural", "decibel"),
            "clip_scaling": ("peak_int16", None),
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
        if self.n_mels > 1024:
            raise CoppiceError(f"n_mels is {self.n_mels}; give at most 1024.")
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
        if not 0 <= self.preemphasis <= 1:
            raise CoppiceError(f"preemphasis is {self.preemphasis:g}; give 0 for none, or up to 1, such as 0.97.")
        for name in ("log_offset", "log_floor"):
            if not 0 <= getattr(self, name) <= 1:
                raise CoppiceError(f"{name} is {getattr(self, name):g}; give a small number, such as 1e-10.")
        if self.log_offset == self.log_floor == 0:
            raise CoppiceError("log_offset and log_floor are both 0; give one of them above 0, such as 1e-10.")
        if self.log_divisor <= 0:
            raise CoppiceError(f"log_divisor is {self.log_divisor:g}; give a number above 0, such as 1.")
        if not 0 < self.duration_s <= 3600:
            raise CoppiceError(f"duration_s is {self.duration_s:g}; give a length above 0 and up to 3600 seconds.")
        if self.samples < self.min_samples:
            raise CoppiceError(
                f"duration_s is {self.duration_s:g}, too short for one frame; "
                f"give {self.min_samples / self.sample_rate:.3f} or more."
            )

    def _check_preset(self) -> None:
        for name, value in PRESETS[self.preset].items():
            given = getattr(self, name)
            if name not in FREE[self.preset] and given != value:
                raise CoppiceError(
                    f"preset {self.preset!r} fixes {name} at {value!r}, not {given!r}; "
                    "use preset 'logmel' to choose constants freely."
                )


def front_end(preset: str, **overrides: Any) -> FrontEnd:
    """Make a front end from a preset.

    Parameters
    ----------
    preset : str
        One of :mod:`coppice.audio.presets`: ``dcase2021``, ``dcase2022``, ``surrey2022``, ``dcase2024``, ``panns32k``,
        ``panns16k``, ``efficientat``: the constants of a published front end, exactly; ``logmel``: a good start with
        every constant free.
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
    >>> front_end("panns32k").shape
    (64, 1001)
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
