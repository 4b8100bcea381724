"""Seeds: one integer from the user, independent streams for whoever needs one."""

import hashlib

import numpy as np

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
