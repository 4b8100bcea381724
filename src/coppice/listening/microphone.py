"""A microphone, through sounddevice and PortAudio, and one sentence for each thing that may be in the way."""

import time
from collections.abc import Generator
from queue import Empty, Full, Queue
from typing import Any

import numpy as np

from coppice.core.errors import CoppiceError
from coppice.listening.source import BLOCK_S, Block

WAITING_S = 5.0  # sound that waits to be heard; what comes on top of it is dropped
_SILENT_S = 5.0  # a microphone that gives no block for so long is gone
_OR_A_FILE = "or hear a file: --file a.wav"


class Microphone:
    """The sound of a microphone.

    Parameters
    ----------
    sample_rate : int
        Wanted rate in Hz. A microphone that refuses it is opened at its own.
    device : str, optional
        Number, or part of the name; the system's default microphone if not given.

    Attributes
    ----------
    name, sample_rate, dropped
        See :class:`coppice.listening.source.Source`.

    Raises
    ------
    CoppiceError
        If sounddevice or PortAudio is not installed, there is no such microphone, or it cannot be opened.
    """

    def __init__(self, *, sample_rate: int, device: str | None = None) -> None:
        self._sounddevice = _sounddevice()
        self._device = int(device) if device is not None and device.isdecimal() else device
        found = self._found()
        self.name = str(found["name"])
        self.sample_rate = sample_rate
        self.dropped = 0
        try:
            self._sounddevice.check_input_settings(device=self._device, channels=1, samplerate=sample_rate)
        except (self._sounddevice.PortAudioError, ValueError):
            self.sample_rate = round(found["default_samplerate"])

    def blocks(self) -> Generator[Block]:
        """Yield blocks of 0.1 s until the iterator is closed."""
        waiting: Queue[Block] = Queue(maxsize=round(WAITING_S / BLOCK_S))

        def take(samples: np.ndarray, frames: int, clock: Any, status: Any) -> None:
            self.dropped += bool(status.input_overflow)
            try:
                waiting.put_nowait(Block(samples.copy(), time.perf_counter()))
            except Full:
                self.dropped += 1

        try:
            stream = self._sounddevice.InputStream(
                device=self._device,
                channels=1,
                samplerate=self.sample_rate,
                blocksize=round(self.sample_rate * BLOCK_S),
                dtype="float32",
                callback=take,
            )
            stream.start()
        except (self._sounddevice.PortAudioError, ValueError) as error:
            raise CoppiceError(
                f"the microphone {self.name!r} cannot be opened ({_first_line(error)}); close what else uses it and "
                f"allow this program to use it, {_OR_A_FILE}."
            ) from error
        try:
            while True:
                try:
                    yield waiting.get(timeout=_SILENT_S)
                except Empty:
                    raise CoppiceError(
                        f"the microphone {self.name!r} gave no sound for {_SILENT_S:g} s; is it still plugged in?"
                    ) from None
        finally:
            stream.close()

    def _found(self) -> Any:
        """Return what PortAudio knows of the microphone."""
        try:
            names = [device["name"] for device in self._sounddevice.query_devices() if device["max_input_channels"] > 0]
            if not names:
                raise CoppiceError(f"there is no microphone that PortAudio can see; plug one in, {_OR_A_FILE}.")
            found = self._sounddevice.query_devices(self._device, "input")
            if found["max_input_channels"] < 1:
                raise ValueError
        except (self._sounddevice.PortAudioError, ValueError) as error:
            wanted = "no default microphone" if self._device is None else f"not one microphone named {self._device!r}"
            raise CoppiceError(
                f"there is {wanted}; give --device with the name of one: {', '.join(map(repr, names))}."
            ) from error
        return found


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError as error:
        raise CoppiceError(
            "a microphone is heard through sounddevice, which is not installed: "
            f"pip install 'coppice[live]', {_OR_A_FILE}."
        ) from error
    except OSError as error:  # on Linux the package brings no library
        raise CoppiceError(
            "a microphone is heard through the library PortAudio, which is not installed: "
            f"apt install libportaudio2 (dnf install portaudio), {_OR_A_FILE}."
        ) from error
    return sounddevice


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(". ")
