import os
from pathlib import Path

# One thread: tests run side by side, and small tensors gain nothing from more. Set before torch loads, and inherited by
# the commands that tests start.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def fixed_seed():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings and published artefacts, where this machine has one."""
    folder = Path(os.environ.get("COPPICE_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no published data at {folder}; set COPPICE_TEST_DATA to the folder that holds it")
    return folder
