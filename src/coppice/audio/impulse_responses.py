"""Impulse responses of recording devices, and what a clip sounds like through one."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from coppice.audio.decode import EXTENSIONS, decode, probe
from coppice.core.errors import CoppiceError
from coppice.core.files import file_digest, plain_os_errors

MOST_SECONDS = 10.0


@dataclass(frozen=True)
class ImpulseResponses:
    """The sound files of a folder, to be convolved with.

    Attributes
    ----------
    folder : Path
        Where they lie.
    files : tuple of Path
        In the order of their names.
    """

    folder: Path
    files: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.files)

    def identity(self) -> list[list[str]]:
        """Return name and content digest of each, for digests of what depends on them."""
        return [[file.name, file_digest(file)] for file in self.files]

    def read(self, number: int, *, sample_rate: int, resampler: str) -> Float32[np.ndarray, " samples"]:
        """Return one at a sample rate, scaled so that what is convolved with it keeps its level at every rate.

        Raises
        ------
        CoppiceError
            If the file cannot be read, is silent, or is too long to be the response of a device.
        """
        file = self.files[number]
        info = probe(file)
        if info.duration_s > MOST_SECONDS:
            raise CoppiceError(
                f"{file} lasts {info.duration_s:.1f} s, so it is no impulse response; remove it from {self.folder}."
            )
        # A sum over samples stands for an integral over time: with more samples a second each one counts less.
        return decode(file, sample_rate=sample_rate, resampler=resampler) * np.float32(info.sample_rate / sample_rate)


def open_impulse_responses(folder: str | Path) -> ImpulseResponses:
    """Find the impulse responses in a folder; files that are not sounds are passed over.

    Raises
    ------
    CoppiceError
        If there is no such folder, or no sound file in it.

    Examples
    --------
    >>> open_impulse_responses("nowhere")
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: there is no folder of impulse responses 'nowhere'; give one with a WAV file each.
    """
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise CoppiceError(f"there is no folder of impulse responses {str(folder)!r}; give one with a WAV file each.")
    with plain_os_errors("read the folder", place):
        files = tuple(sorted(file for file in place.iterdir() if file.suffix.lower() in EXTENSIONS and file.is_file()))
    if not files:
        raise CoppiceError(f"the folder {place} holds no impulse responses; put sound files into it, such as WAV.")
    return ImpulseResponses(place, files)


def through_device(
    waveform: Float32[np.ndarray, " samples"], response: Float32[np.ndarray, " taps"]
) -> Float32[np.ndarray, " samples"]:
    """Convolve a waveform with a device's impulse response, and cut the result to the waveform's length.

    As the CP-JKU systems of DCASE 2023 and later do: the response's own delay and gain are part of the device.

    Examples
    --------
    >>> through_device(np.array([1, 0, 2], np.float32), np.array([0.5, 0.25], np.float32)).round(3).tolist()
    [0.5, 0.25, 1.0]
    """
    from scipy.signal import fftconvolve  # takes a second to load, and few recipes convolve

    return fftconvolve(waveform, response, mode="full")[: len(waveform)].astype(np.float32)
