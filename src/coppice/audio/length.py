"""Every clip gets the same number of samples: longer ones are cut, shorter ones padded."""

from typing import Literal

import numpy as np
from jaxtyping import Float32

from coppice.core.errors import CoppiceError

PADS = ("zeros", "repeat")


def fit_length(
    waveform: Float32[np.ndarray, "given"], *, samples: int, pad: str = "zeros"
) -> Float32[np.ndarray, "samples"]:
    """Cut a waveform to its first samples, or pad it at its end.

    Parameters
    ----------
    waveform : ndarray of float32, shape (given,)
        At least one sample.
    samples : int >= 1
        Samples wanted.
    pad : {"zeros", "repeat"}
        What follows a waveform that is too short: silence, or itself from its start again.

    Returns
    -------
    ndarray of float32, shape (samples,)
        A view where nothing had to be added.

    Raises
    ------
    CoppiceError
        If the waveform is empty, ``samples`` is below 1 or ``pad`` is unknown.

    Examples
    --------
    >>> fit_length(np.array([1, 2, 3], dtype=np.float32), samples=5, pad="repeat")
    array([1., 2., 3., 1., 2.], dtype=float32)
    """
    if pad not in PADS:
        raise CoppiceError(f"pad is {pad!r}; give 'zeros' or 'repeat'.")
    if samples < 1:
        raise CoppiceError(f"the wanted length is {samples} samples; give at least 1.")
    if waveform.size == 0:
        raise CoppiceError("the waveform has no samples, so there is nothing to cut or pad.")
    if waveform.size >= samples:
        return waveform[:samples]
    if pad == "repeat":
        return np.resize(waveform, samples)
    return np.pad(waveform, (0, samples - waveform.size))


def length_change(available_s: float, *, wanted_s: float, tolerance_s: float) -> Literal["kept", "cut", "padded"]:
    """Say what :func:`fit_length` does to a clip, so that callers can count it.

    Parameters
    ----------
    available_s, wanted_s : float
        Length of the clip, and of what the network sees, in seconds.
    tolerance_s : float >= 0
        A difference up to this counts as none. One hop is a good choice: codecs round lengths up to their
        own blocks.

    Examples
    --------
    >>> length_change(5.001, wanted_s=5.0, tolerance_s=0.02)
    'kept'
    >>> length_change(3.2, wanted_s=5.0, tolerance_s=0.02)
    'padded'
    """
    if available_s > wanted_s + tolerance_s:
        return "cut"
    return "padded" if available_s < wanted_s - tolerance_s else "kept"
