import functools
import os
import signal
from collections.abc import Callable
from pathlib import Path

# One thread: tests run side by side, and small tensors gain nothing from more. Set before torch loads, and inherited by
# the commands that tests start.
os.environ["OMP_NUM_THREADS"] = "1"
# What a script starts in the background is told to ignore Ctrl-C, and so are all commands that tests start and stop.
signal.signal(signal.SIGINT, signal.default_int_handler)

import numpy as np
import pandas as pd
import pytest
import torch

from chromium import PROGRAMS, Browser, chromium_program
from coppice.audio.front_end import front_end
from coppice.datasets.clips import make_dataset
from coppice.datasets.prepare import Prepared
from coppice.datasets.splits import Split
from coppice.native.tensors import compiles
from side_by_side import FolderScheduling

ROOT = Path(__file__).parents[1]
LABELS = ("bus", "park", "tram")


def pytest_xdist_make_scheduler(config, log):
    return FolderScheduling(config, log)


@pytest.fixture(autouse=True)
def fixed_seed():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def machine_code(tmp_path_factory):
    """What the C compiler of this machine makes, if there is one, stays among the files of the tests."""
    if not compiles():
        pytest.skip("there is no C compiler here whose libraries use PyTorch's threads")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COPPICE_CACHE", str(tmp_path_factory.mktemp("machine-code")))
        yield


@pytest.fixture(scope="session", autouse=True)
def operators_read_once():
    """Let torch read its tables of operators once: it takes a second, and tests export hundreds of times."""
    export, exporting = torch.onnx.export, torch.export.export

    @functools.cache
    def read_once() -> None:
        import torch._export.utils as utils
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        read = ONNXRegistry.from_torchlib
        known = functools.cache(lambda opset, namespaces: read(opset))
        # Read again when a library has brought operators of its own.
        ONNXRegistry.from_torchlib = staticmethod(lambda opset_version: known(opset_version, len(torch.ops._dir)))
        utils._materialize_cpp_cia_ops = functools.cache(utils._materialize_cpp_cia_ops)

    def to_onnx(*args, **options):
        read_once()
        return export(*args, **options)

    def to_graph(*args, **options):
        read_once()
        return exporting(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.onnx, "export", to_onnx)
        patch.setattr(torch.export, "export", to_graph)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings and published artefacts, where this machine has one."""
    folder = Path(os.environ.get("COPPICE_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no published data at {folder}; set COPPICE_TEST_DATA to the folder that holds it")
    return folder


@pytest.fixture(scope="session")
def browser() -> Callable[..., Browser]:
    """Start a browser, as a context; with ``microphone``, a WAV that it hears again and again."""
    program = chromium_program()
    if program is None:
        pytest.skip(f"no browser to look at pages with: none of {', '.join(PROGRAMS)} is installed")
    return functools.partial(Browser, program)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """Thirty half-second clips of three classes that differ in one band each; no sound files."""
    random = np.random.default_rng(0)
    targets = np.arange(30) % 3
    features = random.standard_normal((30, 40, 25)).astype(np.float32) - 5
    features[np.arange(30), 8 * targets + 4] += 2
    root = tmp_path_factory.mktemp("sounds")
    table = pd.DataFrame(
        {
            "file": [str(root / f"{number}.wav") for number in range(30)],
            "label": [LABELS[target] for target in targets],
        }
    )
    rows = np.arange(30)
    return Prepared(
        dataset=make_dataset("bands", table, root=root),
        split=Split(train=rows[:18], validation=rows[18:24], test=rows[24:], how="by hand"),
        front_end=front_end("dcase2021", duration_s=0.5),
        problems=(),
        cut=0,
        padded=0,
        _features=features,
        _stored=rows,
    )
