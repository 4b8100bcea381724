"""An alteration: what is done to waveforms before their features are computed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32


@dataclass(frozen=True, eq=False)
class Alteration:
    """What is done to waveforms before their log-mel is computed, such as convolving them.

    Parameters
    ----------
    key : JSON-able
        All that it depends on, for the digest of the store.
    alter : callable
        Takes the row of the clip table and its waveform; returns a waveform of the same length.
    """

    key: Any
    alter: Callable[[int, Float32[np.ndarray, " samples"]], Float32[np.ndarray, " samples"]]
