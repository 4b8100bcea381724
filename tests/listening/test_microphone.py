import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from coppice.core.errors import CoppiceError
from coppice.listening import microphone
from coppice.listening.microphone import Microphone

RATE = 8000


class PortAudioError(Exception):
    pass


class Sounddevice:
    """The parts of sounddevice that are used, with microphones that are made up."""

    PortAudioError = PortAudioError

    def __init__(self, rates=(RATE,), channels=1, refused="", silent=False, blocks=12):
        self.rates, self.refused, self.silent, self.count = rates, refused, silent, blocks
        self.devices = [
            {"name": "Speaker", "max_input_channels": 0, "default_samplerate": 48000.0},
            {"name": "USB mic", "max_input_channels": channels, "default_samplerate": 48000.0},
        ]
        self.closed = threading.Event()

    def query_devices(self, device=None, kind=None):
        if kind is None:
            return self.devices
        if isinstance(device, int):
            if device >= len(self.devices):
                raise PortAudioError(f"Error querying device {device}")
            return self.devices[device]
        if device is not None and device not in "USB mic":
            raise ValueError(f"No input device matching {device!r}")
        return self.devices[1]

    def check_input_settings(self, *, device, channels, samplerate):
        if samplerate not in self.rates:
            raise PortAudioError("Invalid sample rate [PaErrorCode -9997]")

    def InputStream(self, *, device, channels, samplerate, blocksize, dtype, callback):
        if self.refused:
            raise PortAudioError(self.refused)
        assert (channels, dtype) == (1, "float32")

        def start():
            samples = np.zeros((blocksize, 1), np.float32)
            for number in range(0 if self.silent else self.count):
                samples[:] = number  # the library uses one buffer for all
                callback(samples, blocksize, None, SimpleNamespace(input_overflow=number == 2))

        return SimpleNamespace(start=start, close=self.closed.set)


@pytest.fixture
def plugged(monkeypatch):
    def plug(**how):
        made = Sounddevice(**how)
        monkeypatch.setitem(sys.modules, "sounddevice", made)
        return made

    return plug


def refused(device=None):
    with pytest.raises(CoppiceError) as caught:
        next(Microphone(sample_rate=RATE, device=device).blocks())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_blocks_of_a_tenth_of_a_second_come_as_they_were_recorded(plugged):
    made = plugged()
    mic = Microphone(sample_rate=RATE)
    assert (mic.name, mic.sample_rate) == ("USB mic", RATE)
    blocks = mic.blocks()
    found = [next(blocks) for _ in range(12)]
    assert [block.samples.shape for block in found] == [(800, 1)] * 12
    assert [float(block.samples[0, 0]) for block in found] == list(range(12))
    assert mic.dropped == 1  # PortAudio lost some before block 2
    assert not made.closed.is_set()
    blocks.close()
    assert made.closed.is_set()


def test_blocks_that_nobody_takes_in_time_are_dropped_and_counted(plugged):
    plugged(blocks=60)
    mic = Microphone(sample_rate=RATE)
    next(mic.blocks())
    assert mic.dropped == 60 - 50 + 1


def test_a_rate_that_the_microphone_refuses_becomes_its_own(plugged):
    plugged(rates=(48000,))
    mic = Microphone(sample_rate=RATE)
    assert mic.sample_rate == 48000
    assert len(next(mic.blocks()).samples) == 4800


@pytest.mark.parametrize("device", [None, "1", "USB"])
def test_a_microphone_is_found_by_number_and_name(plugged, device):
    plugged()
    assert Microphone(sample_rate=RATE, device=device).name == "USB mic"


@pytest.mark.parametrize(("device", "named"), [("xyz", "'xyz'"), ("0", "0"), ("7", "7")])
def test_a_microphone_that_is_not_there_is_refused_with_those_that_are(plugged, device, named):
    plugged()
    assert (
        refused(device) == f"there is not one microphone named {named}; give --device with the name of one: 'USB mic'."
    )


def test_a_machine_without_a_microphone_is_told_so(plugged):
    plugged(channels=0)
    assert refused() == "there is no microphone that PortAudio can see; plug one in, or hear a file: --file a.wav."


def test_a_microphone_that_is_refused_is_told_with_the_reason(plugged):
    plugged(refused="Error opening InputStream: Device unavailable [PaErrorCode -9985]")
    assert refused() == (
        "the microphone 'USB mic' cannot be opened (Error opening InputStream: Device unavailable "
        "[PaErrorCode -9985]); close what else uses it and allow this program to use it, or hear a file: --file a.wav."
    )


def test_a_microphone_that_is_pulled_out_is_told(plugged, monkeypatch):
    made = plugged(silent=True)
    monkeypatch.setattr(microphone, "_SILENT_S", 0.01)
    assert refused() == "the microphone 'USB mic' gave no sound for 0.01 s; is it still plugged in?"
    assert made.closed.is_set()


def test_sounddevice_and_portaudio_that_are_not_installed_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert refused() == (
        "a microphone is heard through sounddevice, which is not installed: pip install 'coppice[live]', "
        "or hear a file: --file a.wav."
    )


def test_a_missing_portaudio_is_named(monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "the library PortAudio, which is not installed: apt install libportaudio2" in refused()
