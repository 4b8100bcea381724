import numpy as np
import pytest
import soundfile
import torch

from coppice.audio.front_end import front_end
from coppice.networks.classifier import Classifier
from coppice.networks.dcase2021 import DCASE2021

RATE = 8000


@pytest.fixture(scope="session")
def classifier():
    torch.manual_seed(0)
    ears = front_end("logmel", sample_rate=RATE, n_fft=512, win_length=320, hop_length=160, n_mels=20, duration_s=0.5)
    network = DCASE2021(widths=(4, 4, 4), dense=5, classes=3, bands=20, frames=25)
    return Classifier(network, ears, ("bus", "park", "tram"), torch.full((20,), -3.0), torch.ones(20))


@pytest.fixture
def wav(tmp_path):
    """Write noise that grows louder; return the file and its samples, shape (frames, channels)."""

    def write(seconds, rate=RATE, channels=1):
        samples = round(seconds * rate)
        sound = (
            np.random.default_rng(samples).uniform(-1, 1, (samples, channels))
            * np.linspace(0.05, 0.9, samples)[:, None]
        )
        soundfile.write(tmp_path / "sound.wav", sound, rate, subtype="FLOAT")
        return tmp_path / "sound.wav", sound.astype(np.float32)

    return write
