import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from coppice.audio.front_end import front_end
from coppice.core.errors import CoppiceError
from coppice.core.seeds import numpy_stream
from coppice.native.toolchain import compiler
from coppice.networks.classifier import Classifier
from coppice.networks.dcase2021 import DCASE2021

WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Libraries of the tests stay among their files."""
    before = os.environ.get("COPPICE_CACHE")
    os.environ["COPPICE_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["COPPICE_CACHE"]
    else:
        os.environ["COPPICE_CACHE"] = before


@pytest.fixture(scope="session")
def cc() -> str:
    """The C compiler of this machine."""
    try:
        return compiler().command
    except CoppiceError as error:
        pytest.skip(str(error))


def needed(command: str) -> str:
    """Return a program's path, or skip."""
    found = shutil.which(command)
    if found is None:
        pytest.skip(f"{command} is not installed")
    return found


@pytest.fixture(scope="session")
def used() -> Callable[[nn.Module], nn.Module]:
    """Give a fresh network the look of a trained one: running statistics and biases that are not 0 and 1."""

    def wear(network: nn.Module) -> nn.Module:
        generator = torch.Generator().manual_seed(5)
        for name, tensor in network.state_dict().items():
            if "running" in name:
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            elif tensor.is_floating_point():
                tensor.add_(0.05 * torch.randn(tensor.shape, generator=generator))
        return network.eval()

    return wear


@pytest.fixture(scope="session")
def classifier(used) -> Classifier:
    """Half-second clips, three classes, as many filters as no tile has."""
    torch.manual_seed(0)
    return Classifier(
        network=used(DCASE2021(widths=(5, 3, 7), dense=6, classes=3, frames=25)),
        front_end=front_end("dcase2021", duration_s=0.5),
        labels=("bus", "park", 'tram "4"'),
        band_mean=torch.linspace(-9, -6, 40),
        band_std=torch.linspace(1, 2, 40),
    )


@pytest.fixture(scope="session")
def sounds(classifier) -> torch.Tensor:
    """Noise that is loud, soft and silent by turns."""
    noise = numpy_stream(0, "sounds").standard_normal((12, classifier.front_end.samples), dtype=np.float32)
    return torch.from_numpy(noise) * torch.logspace(-4, -1, 12)[:, None]


def make(folder: Path, *arguments: str) -> str:
    """Run make in a folder; return what it printed."""
    done = subprocess.run([needed("make"), "-s", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
