"""Sound file to waveform: any rate, any channel count, one sentence for each file that cannot be used."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float32

from coppice.audio.containers import missing_part, streamed_wav
from coppice.audio.resample import resample
from coppice.core.errors import CoppiceError
from coppice.core.files import plain_os_errors

EXTENSIONS = (".wav", ".wave", ".flac", ".ogg", ".oga", ".mp3")
FORMATS = {"WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3", "MPEG"}

# A header is believed within these bounds only.
MAX_CHANNELS = 64
RATES_HZ = (1000, 768_000)
MAX_VALUES = 1 << 29  # samples times channels of one stretch: 2 GiB as float32
_UNKNOWN_LENGTH = 1 << 60  # the library's "until the end", as FLAC streams have it
_BLOCK_VALUES = 1 << 20


@dataclass(frozen=True)
class AudioInfo:
    """What the header of a sound file says.

    Parameters
    ----------
    sample_rate : int
        In Hz.
    channels : int
        1 is mono.
    frames : int
        Samples per channel.
    duration_s : float
        ``frames / sample_rate``.
    format : str
        Container and encoding, such as ``"WAV PCM_24"``.
    """

    sample_rate: int
    channels: int
    frames: int
    duration_s: float
    format: str


def probe(path: str | Path) -> AudioInfo:
    """Read the header of a sound file, and check that the file holds what the header promises.

    Parameters
    ----------
    path : str or Path
        WAV, FLAC, OGG or MP3.

    Returns
    -------
    AudioInfo

    Raises
    ------
    CoppiceError
        If the file is missing, unreadable, empty, not sound, cut short or has an absurd header. What only
        decoding shows (silence, NaN, damage in the middle) is found by :func:`decode`.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "tone.wav"
    >>> soundfile.write(file, np.full(8000, 0.1), 16000)
    >>> probe(file)
    AudioInfo(sample_rate=16000, channels=1, frames=8000, duration_s=0.5, format='WAV PCM_16')
    """
    path = Path(path)
    with _opened(path) as sound:
        return _info(sound, path)


def decode(
    path: str | Path,
    *,
    sample_rate: int,
    resampler: str = "soxr_hq",
    start_s: float = 0.0,
    duration_s: float | None = None,
) -> Float32[np.ndarray, "samples"]:
    """Decode a stretch of a sound file to mono at the wanted rate.

    Parameters
    ----------
    path : str or Path
        WAV (16, 24, 32 bit, float), FLAC, OGG or MP3, any rate, any number of channels.
    sample_rate : int
        Wanted rate in Hz; another one is resampled.
    resampler : {"soxr_hq", "sinc_hann"}
        How (see :func:`coppice.audio.resample.resample`).
    start_s : float >= 0
        Where the stretch begins, in seconds.
    duration_s : float or None
        How long it is at most; None: to the end of the file.

    Returns
    -------
    ndarray of float32, shape (samples,)
        The mean over the channels, full scale [-1, 1].

    Raises
    ------
    CoppiceError
        If :func:`probe` refuses the file, the stretch is outside, fewer samples come out than the header
        promises, a sample is NaN or infinite, every sample is 0, or the resampler is unknown.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "tone.wav"
    >>> soundfile.write(file, np.full((8000, 2), 0.25), 16000, subtype="PCM_24")
    >>> decode(file, sample_rate=8000, start_s=0.1, duration_s=0.2).shape
    (1600,)
    """
    path = Path(path)
    if not start_s >= 0 or (duration_s is not None and not duration_s > 0):
        raise CoppiceError(f"{path}: the stretch from {start_s} s over {duration_s} s cannot be; give times above 0.")
    with _opened(path) as sound:
        info = _info(sound, path)
        start = round(start_s * info.sample_rate)
        if start >= info.frames:
            raise CoppiceError(f"{path} is {info.duration_s:.3f} s long; a stretch from {start_s} s is outside it.")
        wanted = info.frames - start
        if duration_s is not None:
            wanted = max(1, min(wanted, round(duration_s * info.sample_rate)))
        waveform = _read(sound, path, start=start, frames=wanted)
        if start + wanted < info.frames and info.format.startswith("FLAC"):
            _check_last_frame(sound, path, info)
    if not np.isfinite(waveform).all():
        bad = int(np.count_nonzero(~np.isfinite(waveform)))
        raise CoppiceError(f"{path} holds {bad} samples that are NaN or infinite; write it again.")
    if not waveform.any():
        raise CoppiceError(f"{path} is silent: every sample{_stretch_text(start_s, duration_s)} is 0.")
    return resample(waveform, from_hz=info.sample_rate, to_hz=sample_rate, resampler=resampler)


def decode_blocks(path: str | Path) -> Iterator[Float32[np.ndarray, "frames channels"]]:
    """Decode a whole sound file piece by piece, however long it is, in memory that does not grow with its length.

    Parameters
    ----------
    path : str or Path
        WAV, FLAC, OGG or MP3.

    Yields
    ------
    ndarray of float32, shape (frames, channels)
        At the rate of the file, full scale [-1, 1], as the file has them: they may be silent or no numbers.

    Raises
    ------
    CoppiceError
        If :func:`probe` refuses the file, or, at its end, if fewer samples came out than the header promises.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "tone.wav"
    >>> soundfile.write(file, np.full((8000, 2), 0.25), 16000)
    >>> [block.shape for block in decode_blocks(file)]
    [(8000, 2)]
    """
    path = Path(path)
    with _opened(path) as sound:
        yield from _blocks(sound, path, start=0, frames=_info(sound, path).frames)


def _stretch_text(start_s: float, duration_s: float | None) -> str:
    if duration_s is None:
        return "" if start_s == 0 else f" from {start_s:g} s on"
    return f" from {start_s:g} s to {start_s + duration_s:g} s"


@contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile]:
    """Open a sound file after everything that can be said without decoding has been said."""
    with plain_os_errors("read", path), path.open("rb") as handle:
        size = os.fstat(handle.fileno()).st_size
        first = handle.read(16)
    if size == 0:
        raise CoppiceError(f"{path} is empty: it has 0 bytes.")
    try:
        sound = soundfile.SoundFile(streamed_wav(path) or path)
    except (soundfile.LibsndfileError, TypeError, ValueError) as error:
        raise CoppiceError(
            f"{path} is not a sound file that can be read (it begins with {first!r}); give WAV, FLAC, OGG or MP3."
        ) from error
    with sound:
        if sound.format not in FORMATS:
            raise CoppiceError(f"{path} is {sound.format}; give WAV, FLAC, OGG or MP3.")
        with plain_os_errors("read", path):
            missing = missing_part(path)
        if missing is not None:
            raise CoppiceError(f"{path} is cut short: {missing}; copy or record it again.")
        yield sound


def _info(sound: soundfile.SoundFile, path: Path) -> AudioInfo:
    rate, channels, frames = sound.samplerate, sound.channels, sound.frames
    if not RATES_HZ[0] <= rate <= RATES_HZ[1]:
        raise CoppiceError(f"{path} claims a sample rate of {rate} Hz; {RATES_HZ[0]} to {RATES_HZ[1]} Hz can be read.")
    if not 1 <= channels <= MAX_CHANNELS:
        raise CoppiceError(f"{path} claims {channels} channels; 1 to {MAX_CHANNELS} can be read.")
    if frames >= _UNKNOWN_LENGTH:
        raise CoppiceError(f"{path} does not say how long it is, as a stream; save it as a file, such as WAV.")
    if frames <= 0:
        raise CoppiceError(f"{path} holds no sound: its header is there, but it has 0 samples.")
    return AudioInfo(rate, channels, frames, frames / rate, f"{sound.format} {sound.subtype}")


def _read(sound: soundfile.SoundFile, path: Path, *, start: int, frames: int) -> Float32[np.ndarray, "samples"]:
    """Read in blocks, so that memory follows what the file holds, not what its header claims."""
    if frames * sound.channels > MAX_VALUES:
        raise CoppiceError(
            f"{path} claims {frames / sound.samplerate / 3600:.1f} hours in {sound.channels} channels, "
            f"too much for one clip; name stretches by start_s and duration_s, or split the file."
        )
    mono = [
        block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)
        for block in _blocks(sound, path, start=start, frames=frames)
    ]
    return mono[0] if len(mono) == 1 else np.concatenate(mono)


def _blocks(
    sound: soundfile.SoundFile, path: Path, *, start: int, frames: int
) -> Iterator[Float32[np.ndarray, "frames channels"]]:
    remaining = frames
    with _plain_damage(path):
        sound.seek(start)
        while remaining:
            block = sound.read(min(remaining, max(1, _BLOCK_VALUES // sound.channels)), dtype="float32", always_2d=True)
            if not len(block):
                break
            remaining -= len(block)
            yield block
    if remaining:
        raise CoppiceError(
            f"{path} is cut short: its header promises {frames} samples, "
            f"{frames - remaining} can be decoded; copy or record it again."
        )


def _check_last_frame(sound: soundfile.SoundFile, path: Path, info: AudioInfo) -> None:
    """Decode the last frame, so that a stretch of a file that was cut short behind it is refused, too."""
    with _plain_damage(path):
        sound.seek(info.frames - 1)
        last = sound.read(1, dtype="float32")
    if not len(last):
        raise CoppiceError(
            f"{path} is cut short: its header promises {info.frames} samples, "
            "the last one cannot be decoded; copy or record it again."
        )


@contextmanager
def _plain_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except soundfile.LibsndfileError as error:
        raise CoppiceError(
            f"{path} is cut short or damaged: it cannot be decoded to its end; copy or record it again."
        ) from error
