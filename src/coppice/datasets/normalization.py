"""Normalisation per mel band, measured on the training clips alone."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64, Int

from coppice.core.errors import CoppiceError
from coppice.datasets.feature_file import read_rows

STD_FLOOR = 1e-5  # nats; a band that never changes is left as it is instead of being blown up
_ROWS_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class Normalization:
    """Mean and standard deviation of every mel band.

    Parameters
    ----------
    mean, std : ndarray of float64, shape (mels,)
        In nats; ``std`` is above 0.
    """

    mean: Float64[np.ndarray, "mels"]
    std: Float64[np.ndarray, "mels"]

    def apply(self, features: Float[np.ndarray, "*clips mels frames"]) -> Float32[np.ndarray, "*clips mels frames"]:
        """Return ``(features - mean) / std`` in float32."""
        return ((features - self.mean[:, None]) / self.std[:, None]).astype(np.float32)


def fit_normalization(
    features: Float32[np.ndarray, "clips mels frames"], rows: Int[np.ndarray, "train"]
) -> Normalization:
    """Measure mean and standard deviation per band over some clips.

    Parameters
    ----------
    features : ndarray of float32, shape (clips, mels, frames)
        All clips; may be memory-mapped.
    rows : ndarray of int
        The training clips. No other row is read.

    Returns
    -------
    Normalization
        Accumulated in float64, in two passes; ``std`` is at least 1e-5.

    Raises
    ------
    CoppiceError
        If there are no rows, or one of them is not finite.

    Examples
    --------
    >>> features = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    >>> fit_normalization(features, np.array([0])).mean
    array([1., 4.])
    """
    rows = np.sort(np.asarray(rows, dtype=np.int64))
    if not len(rows):
        raise CoppiceError("normalisation needs at least one training clip; 0 were given.")
    parts = [rows[start : start + _ROWS_AT_ONCE] for start in range(0, len(rows), _ROWS_AT_ONCE)]
    count = len(rows) * features.shape[2]
    mean = sum((read_rows(features, part).sum(axis=(0, 2), dtype=np.float64) for part in parts), np.zeros(())) / count
    if not np.isfinite(mean).all():
        bad = [int(row) for row in rows if not np.isfinite(features[row]).all()]
        raise CoppiceError(f"features of clip {bad[0]} (of {len(bad)}) are not finite; leave unreadable clips out.")
    squares = np.zeros_like(mean)
    for part in parts:
        centred = read_rows(features, part).astype(np.float64) - mean[:, None]
        squares += np.square(centred).sum(axis=(0, 2))
    return Normalization(mean=mean, std=np.maximum(np.sqrt(squares / count), STD_FLOOR))
