"""Simulated recording devices: each colours, limits and hisses in its own way."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from coppice.core.seeds import numpy_stream


@dataclass(frozen=True)
class SimulatedDevice:
    """A microphone and what is behind it.

    Parameters
    ----------
    name : str
        As it stands in the clip table.
    low_hz, high_hz : float
        Where its response has fallen by 3 dB.
    ripple_db : float
        Spread of its response in between.
    noise_db : float
        Level of its own noise against full scale.
    gain_db : float
        Level of what it records against full scale (RMS).
    """

    name: str
    low_hz: float
    high_hz: float
    ripple_db: float
    noise_db: float
    gain_db: float

    def record(
        self, wave: Float64[np.ndarray, "samples"], rate: int, rng: np.random.Generator
    ) -> Float64[np.ndarray, "samples"]:
        """Return what the device makes of a waveform of RMS 1: clipped to [-1, 1] where it is too loud.

        Examples
        --------
        >>> device = DEVICES[0]
        >>> recorded = device.record(np.ones(100), 8000, np.random.default_rng(0))
        >>> bool(np.abs(recorded).max() <= 1)
        True
        """
        hz = np.fft.rfftfreq(len(wave), 1 / rate)
        # The response belongs to the device, not to the recording: always the same stream.
        bumps = self.ripple_db * numpy_stream(0, "device", self.name).standard_normal(12)
        ripple = np.interp(np.log2(np.maximum(hz, 20.0) / 20.0), np.linspace(0, 10, 12), bumps)
        response = 10 ** (ripple / 20) / np.sqrt(1 + (self.low_hz / np.maximum(hz, 1.0)) ** 4)
        response /= np.sqrt(1 + (hz / self.high_hz) ** 8)
        heard = np.fft.irfft(np.fft.rfft(wave) * response, len(wave)) * 10 ** (self.gain_db / 20)
        hiss = rng.standard_normal(len(wave)) * 10 ** (self.noise_db / 20)
        return np.clip(heard + hiss, -1, 1)


DEVICES = (
    SimulatedDevice("recorder", low_hz=20, high_hz=20000, ripple_db=1, noise_db=-75, gain_db=-22),
    SimulatedDevice("phone", low_hz=120, high_hz=14000, ripple_db=4, noise_db=-60, gain_db=-18),
    SimulatedDevice("headset", low_hz=200, high_hz=7000, ripple_db=5, noise_db=-52, gain_db=-26),
    SimulatedDevice("camera", low_hz=60, high_hz=10000, ripple_db=6, noise_db=-56, gain_db=-16),
)
