"""Analysis windows in float64."""

import numpy as np
from jaxtyping import Float64

from coppice.core.errors import CoppiceError, did_you_mean

COEFFICIENTS = {"hamming": (0.54, 0.46), "hann": (0.5, 0.5)}


def window(name: str, length: int, *, periodic: bool = True) -> Float64[np.ndarray, "length"]:
    """Return a raised-cosine window, ``a - b cos(2 pi n / period)``.

    Parameters
    ----------
    name : {"hamming", "hann"}
        Which window (Harris, "On the use of windows for harmonic analysis with the DFT", 1978, eqs. 27, 31).
    length : int >= 2
        Samples; at least 3 where the window is symmetric.
    periodic : bool
        True: the period is ``length``, so that the first sample of the next period is left out, as spectral
        analysis needs. False: the period is ``length - 1``, so that the last sample equals the first.

    Returns
    -------
    ndarray of float64, shape (length,)
        Values in [0, 1].

    Raises
    ------
    CoppiceError
        If the name is unknown or the window too short.

    Examples
    --------
    >>> window("hann", 4)
    array([0. , 0.5, 1. , 0.5])
    >>> window("hann", 5, periodic=False)
    array([0. , 0.5, 1. , 0.5, 0. ])
    """
    if name not in COEFFICIENTS:
        raise CoppiceError(f"window {name!r} is unknown. {did_you_mean(name, COEFFICIENTS)}")
    shortest = 2 if periodic else 3
    if length < shortest:
        raise CoppiceError(f"window length is {length}; give at least {shortest} samples.")
    a, b = COEFFICIENTS[name]
    return a - b * np.cos(2 * np.pi * np.arange(length) / (length if periodic else length - 1))
