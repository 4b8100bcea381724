"""Clips per second of the front end beside librosa, on one thread each.

Run it as ``python benchmarks/bench_front_end.py [FOLDER]``: on the sounds of FOLDER, or on noise without one.
Both sides do the same clip in turn, so that whatever else the machine does hits both; medians are compared.
"""

import statistics
import sys
import time
from pathlib import Path

import librosa
import numpy as np
import torch
from threadpoolctl import threadpool_limits

from coppice.audio.decode import EXTENSIONS, decode
from coppice.audio.front_end import FrontEnd, front_end
from coppice.audio.length import fit_length
from coppice.audio.log_mel import log_mel

CLIPS = 40
ROUNDS = 5


def load(folder: Path | None, ears: FrontEnd) -> list[np.ndarray]:
    if folder is None:
        rng = np.random.default_rng(0)
        return [rng.standard_normal(ears.samples).astype(np.float32) * 0.1 for _ in range(CLIPS)]
    files = [file for file in sorted(folder.rglob("*")) if file.suffix in EXTENSIONS][:CLIPS]
    return [fit_length(decode(file, sample_rate=ears.sample_rate), samples=ears.samples) for file in files]


def theirs(wave: np.ndarray, ears: FrontEnd, bank: np.ndarray) -> np.ndarray:
    spectrum = librosa.stft(
        wave + np.float32(ears.waveform_offset),
        n_fft=ears.n_fft,
        hop_length=ears.hop_length,
        win_length=ears.win_length,
        window=ears.window,
        pad_mode="reflect",
    )
    return np.log(bank @ np.abs(spectrum) ** ears.power + np.float32(ears.log_offset))[:, : ears.frames]


def seconds(function, *given) -> float:
    start = time.perf_counter()
    function(*given)
    return time.perf_counter() - start


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    ears = front_end("dcase2021", duration_s=5.0)
    waves = load(folder, ears)
    # librosa's own filterbank, built once, as a careful user of librosa would.
    bank = librosa.filters.mel(
        sr=ears.sample_rate, n_fft=ears.n_fft, n_mels=ears.n_mels, fmin=ears.fmin_hz, fmax=ears.fmax_hz
    )
    torch.set_num_threads(1)
    with threadpool_limits(1):
        log_mel(waves[0], ears), theirs(waves[0], ears, bank)  # build what is built once
        ours_s, theirs_s = [], []
        for _ in range(ROUNDS):
            for wave in waves:
                ours_s.append(seconds(log_mel, wave, ears))
                theirs_s.append(seconds(theirs, wave, ears, bank))
    apart = max(float(np.abs(log_mel(wave, ears).numpy() - theirs(wave, ears, bank)).max()) for wave in waves)
    ours_median, theirs_median = statistics.median(ours_s), statistics.median(theirs_s)
    print(f"{len(waves)} clips of {ears.duration_s:g} s ({folder or 'noise'}), {ROUNDS} rounds, one thread")
    print(f"coppice  {1 / ours_median:8.0f} clips/s  (median {1e3 * ours_median:.2f} ms)")
    print(f"librosa  {1 / theirs_median:8.0f} clips/s  (median {1e3 * theirs_median:.2f} ms)")
    print(f"ratio    {theirs_median / ours_median:8.2f}")
    print(f"largest difference {apart:.1e} nats")


if __name__ == "__main__":
    main()
