"""Ten procedural scenes: computed sounds that a network can learn to tell apart."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64

Wave = Float64[np.ndarray, "samples"]
Scene = Callable[[np.random.Generator, int, int], Wave]


def shaped_noise(
    rng: np.random.Generator, samples: int, rate: int, *, low_hz: float, high_hz: float, slope_db: float = 0.0
) -> Wave:
    """Gaussian noise between two frequencies, falling by ``slope_db`` per octave; RMS 1.

    Examples
    --------
    >>> noise = shaped_noise(np.random.default_rng(0), 1000, 8000, low_hz=100.0, high_hz=1000.0)
    >>> round(float(np.sqrt(np.mean(noise**2))), 6)
    1.0
    """
    hz = np.fft.rfftfreq(samples, 1 / rate)
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    # Gentle edges, 12 dB per octave, as in nature.
    edges = 1 / np.sqrt(1 + (low_hz / np.maximum(hz, 1.0)) ** 4) / np.sqrt(1 + (hz / high_hz) ** 4)
    tilt = (np.maximum(hz, 20.0) / 1000.0) ** (-slope_db / 6.02)
    return unit(np.fft.irfft(spectrum * edges * tilt, samples))


def unit(wave: Wave) -> Wave:
    """Scale to RMS 1.

    Examples
    --------
    >>> unit(np.array([3.0, -3.0]))
    array([ 1., -1.])
    """
    return wave / max(float(np.sqrt(np.mean(np.square(wave)))), 1e-12)


def _slow(rng: np.random.Generator, samples: int, rate: int, *, around_hz: float) -> Wave:
    """Draw a smooth random course (mean 0, spread 1) that changes about ``around_hz`` times a second."""
    knots = rng.standard_normal(int(samples / rate * around_hz) + 4)
    return np.interp(np.arange(samples) * (around_hz / rate), np.arange(len(knots)), knots)


def _events(rng: np.random.Generator, samples: int, rate: int, *, per_s: float) -> np.ndarray:
    """Draw Poisson times, as sample numbers; at least one."""
    number = max(1, int(rng.poisson(per_s * samples / rate)))
    return np.sort(rng.integers(0, samples, number))


def _beats(rng: np.random.Generator, samples: int, rate: int, *, per_s: float, jitter: float) -> np.ndarray:
    """Draw regular times with relative jitter, as sample numbers; at least one."""
    step = rate / per_s
    times = np.arange(rng.uniform(0, min(step, samples)), samples, step)
    return np.clip(times + jitter * step * rng.standard_normal(len(times)), 0, samples - 1).astype(int)


def _place(samples: int, times: np.ndarray, shape: Callable[[int], Wave]) -> Wave:
    """Add up ``shape(number)`` at every time; what runs over the end is lost."""
    wave = np.zeros(samples)
    for number, time in enumerate(times.tolist()):
        piece = shape(number)[: samples - time]
        wave[time : time + len(piece)] += piece
    return wave


def _ring(rate: int, hz: float, decay_s: float) -> Wave:
    t = np.arange(int(6 * decay_s * rate)) / rate
    return np.sin(2 * np.pi * hz * t) * np.exp(-t / decay_s)


def _rain(rng: np.random.Generator, samples: int, rate: int) -> Wave:
    hiss = shaped_noise(rng, samples, rate, low_hz=rng.uniform(500, 1500), high_hz=12000, slope_db=rng.uniform(0, 3))
    drops = _events(rng, samples, rate, per_s=rng.uniform(20, 120))
    pitch = rng.uniform(1500, 6000, len(drops))
    size = rng.exponential(1.0, len(drops))
    return hiss + _place(samples, drops, lambda n: 3 * size[n] * _ring(rate, pitch[n], 0.002))


def _wind(rng: np.random.Generator, samples: int, rate: int) -> Wave:
    gust = np.exp(rng.uniform(0.3, 0.8) * _slow(rng, samples, rate, around_hz=rng.uniform(0.5, 2)))
    rush = shaped_noise(rng, samples, rate, low_hz=40, high_hz=rng.uniform(300, 1200), slope_db=rng.uniform(3, 6))
    howl = shaped_noise(rng, samples, rate, low_hz=(pitch := rng.uniform(400, 900)), high_hz=pitch * 1.1)
    return gust * (rush + rng.uniform(0.05, 0.4) * gust * howl)


def _engine(rng: np.random.Generator, samples: int, rate: int) -> Wave:
    hz = rng.uniform(18, 45) * (1 + 0.03 * _slow(rng, samples, rate, around_hz=3))
    phase = 2 * np.pi * np.cumsum(hz) / rate
    fall = rng.uniform(0.6, 1.2)
    weights = rng.uniform(0.3, 1, 16) / np.arange(1, 17) ** fall
    tone = sum((w * np.sin((k + 1) * phase + 6 * w) for k, w in enumerate(weights)), np.zeros(samples))
    hum = shaped_noise(rng, samples, rate, low_hz=60, high_hz=rng.uniform(500, 2500), slope_db=3)
    return unit(tone) + rng.uniform(0.2, 0.6) * hum * (1 + 0.5 * np.sin(phase))


def _clock(rng: np.random.Generator, samples: int, rate: int) -> Wave:
    times = _beats(rng, samples, rate, per_s=rng.uniform(1.5, 5), jitter=0.005)
    tick, tock = rng.uniform(1800, 5000, 2)
    decay = rng.uniform(0.003, 0.012)
    click = [_ring(rate, tick, decay), rng.uniform(0.5, 1) * _ring(rate, tock, decay)]
    return _place(samples, times, lambda n: click[n % 2])


def _birds(rng: np.random.Generator, samples: int, rate: int) -> Wave:
    centre, sweep = rng.uniform(2200, 6000), rng.uniform(-0.4, 0.4)
    length_s, warble = rng.uniform(0.05, 0.25), rng.uniform(0, 0.08)
    times = _events(rng, samples, rate, per_s=rng.uniform(2, 7))
    pitch = rng.uniform(0.85, 1.15, len(times))
    t = np.arange(int(length_s * rate)) / rate
    course = 1 + sweep * (t / length_s - 0.5) + warble * np.sin(2 * np.pi * 30 * t)
    envelope = np.sin(np.pi * t / length_s) ** 2
    return _place(samples, times, lambda n: envelope * np.sin(2 * np.pi * np.cumsum(centre * pitch[n] * course) / rate))


def _siren(rng: np.random.Generator, samples: int, rate: int) -> Wave:
    t = np.arange(samples) / rate
    swing = np.sin(2 * np.pi * rng.uniform(0.3, 2.5) * t + rng.uniform(0, 6))
    if rng.random() < 0.4:  # two tones instead of a glide
        swing = np.sign(swing)
    hz = rng.uniform(600, 1100) * 2 ** (rng.uniform(0.2, 0.6) * swing)
    phase = 2 * np.pi * np.cumsum(hz) / rate
    return np.sin(phase) + rng.uniform(0.1, 0.5) * np.sin(2 * phase) + rng.uniform(0.05, 0.3) * np.sin(3 * phase)


def _footsteps(rng: np.random.Generator, samples: int, rate: int) -> Wave:
    times = _beats(rng, samples, rate, per_s=rng.uniform(1.4, 2.8), jitter=0.05)
    body_hz, scrape = rng.uniform(70, 160), rng.uniform(0.1, 0.8)
    thump = _ring(rate, body_hz, rng.uniform(0.02, 0.05))
    length = int(0.12 * rate)
    fade = np.exp(-np.arange(length) / (0.03 * rate))
    rubs = [scrape * fade * shaped_noise(rng, length, rate, low_hz=300, high_hz=4000) for _ in range(4)]
    force = rng.uniform(0.6, 1.2, len(times))
    heel = np.pad(thump, (0, max(0, length - len(thump))))[:length]
    return _place(samples, times, lambda n: force[n] * (heel + rubs[n % 4]))


def _fire(rng: np.random.Generator, samples: int, rate: int) -> Wave:
    roar = shaped_noise(rng, samples, rate, low_hz=50, high_hz=rng.uniform(300, 900), slope_db=4)
    cracks = _events(rng, samples, rate, per_s=rng.uniform(6, 30))
    size = rng.pareto(1.6, len(cracks)) + 0.3
    decay = rng.uniform(0.0005, 0.004, len(cracks))
    bursts = [
        rng.standard_normal(int(6 * d * rate)) * np.exp(-np.arange(int(6 * d * rate)) / (d * rate)) for d in decay
    ]
    return rng.uniform(0.3, 0.8) * roar + _place(samples, cracks, lambda n: min(size[n], 6.0) * bursts[n])


def _waves(rng: np.random.Generator, samples: int, rate: int) -> Wave:
    t = np.arange(samples) / rate
    swell = 0.5 - 0.5 * np.cos(2 * np.pi * (rng.uniform(0.25, 0.6) * t + rng.random()))
    surf = shaped_noise(rng, samples, rate, low_hz=rng.uniform(150, 500), high_hz=rng.uniform(2500, 7000), slope_db=3)
    deep = shaped_noise(rng, samples, rate, low_hz=40, high_hz=rng.uniform(200, 500), slope_db=3)
    return (0.15 + swell**2) * surf + rng.uniform(0.3, 0.8) * (0.4 + swell) * deep


def _rotor(rng: np.random.Generator, samples: int, rate: int) -> Wave:
    t = np.arange(samples) / rate
    blade_hz = rng.uniform(9, 22)
    chop = np.maximum(0, np.sin(2 * np.pi * blade_hz * t)) ** rng.uniform(2, 6)
    air = shaped_noise(rng, samples, rate, low_hz=60, high_hz=rng.uniform(500, 2500), slope_db=4)
    whine = np.sin(2 * np.pi * blade_hz * rng.integers(20, 50) * t)
    return air * (0.25 + chop) + rng.uniform(0, 0.1) * whine


SCENES: dict[str, Scene] = {
    "birdsong": _birds,
    "clock_tick": _clock,
    "engine_idle": _engine,
    "fire": _fire,
    "footsteps": _footsteps,
    "rain": _rain,
    "rotor": _rotor,
    "sea_waves": _waves,
    "siren": _siren,
    "wind": _wind,
}
