"""Seeds: one integer from the user, independent streams for whoever needs one."""

import hashlib
import random
from functools import cache

import numpy as np
import torch

from coppice.core.errors import CoppiceError


def derive_seed(seed: int, *keys: str | int) -> int:
    """Derive a seed for one purpose from the user's seed.

    Two purposes never share a stream, and the stream of one does not depend on whether another was drawn.

    Parameters
    ----------
    seed : int >= 0
        The user's seed.
    *keys : str or int
        What the stream is for, for example ``"dropout", epoch``.

    Returns
    -------
    int
        In ``[0, 2**63)``; the same on every machine.

    Raises
    ------
    CoppiceError
        If ``seed`` is negative.

    Examples
    --------
    >>> derive_seed(0, "shuffle", 3) == derive_seed(0, "shuffle", 3)
    True
    >>> derive_seed(0, "shuffle", 3) == derive_seed(0, "shuffle", 4)
    False
    """
    if seed < 0:
        raise CoppiceError(f"seed is {seed}; give a whole number from 0 upwards.")
    text = "/".join([str(seed), *map(str, keys)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_stream(seed: int, *keys: str | int) -> np.random.Generator:
    """Return a NumPy generator for one purpose (see :func:`derive_seed`)."""
    return np.random.default_rng(derive_seed(seed, *keys))


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
