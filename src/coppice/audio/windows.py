"""Analysis windows, periodic, in float64."""

import numpy as np
from jaxtyping import Float64

from coppice.core.errors import CoppiceError, did_you_mean

COEFFICIENTS = {"hamming": (0.54, 0.46), "hann": (0.5, 0.5)}


def window(name: str, length: int) -> Float64[np.ndarray, "length"]:
    """Return a periodic raised-cosine window, ``a - b cos(2 pi n / length)``.

    Parameters
    ----------
    name : {"hamming", "hann"}
        Which window (Harris, "On the use of windows for harmonic analysis with the DFT", 1978, eqs. 27, 31).
    length : int >= 2
        Samples.

    Returns
    -------
    ndarray of float64, shape (length,)
        Values in [0, 1]. Periodic: the first sample of the next period is left out, as spectral analysis
        needs.

    Raises
    ------
    CoppiceError
        If the name is unknown or the length is below 2.

    Examples
    --------
    >>> window("hann", 4)
    array([0. , 0.5, 1. , 0.5])
    """
    if name not in COEFFICIENTS:
        raise CoppiceError(f"window {name!r} is unknown. {did_you_mean(name, COEFFICIENTS)}")
    if length < 2:
        raise CoppiceError(f"window length is {length}; give at least 2 samples.")
    a, b = COEFFICIENTS[name]
    return a - b * np.cos(2 * np.pi * np.arange(length) / length)
