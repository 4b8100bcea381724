"""The generators that third-party code draws from, seeded; apart from the seeds, since it loads PyTorch."""

import random
from functools import cache

import numpy as np
import torch

from coppice.core.seeds import derive_seed


def seed_global(seed: int, *keys: str | int) -> None:
    """Seed Python's, NumPy's and torch's global generators for one purpose (see :func:`derive_seed`)."""
    value = derive_seed(seed, *keys)
    random.seed(value)
    np.random.seed(value % 2**32)  # noqa: NPY002 - third-party code may draw from the global generator
    # torch.manual_seed also writes down the call stack for each kind of device that may come into use later: most of a
    # millisecond inside Lightning, at every training step. Where there is no such device, nothing else needs the seed.
    if _has_accelerator():
        torch.manual_seed(value)
    else:
        torch.default_generator.manual_seed(value)


@cache
def _has_accelerator() -> bool:
    return torch.accelerator.is_available()
