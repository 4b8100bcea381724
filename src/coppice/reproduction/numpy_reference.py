"""A forward pass of the DCASE 2021 baseline in NumPy alone, straight from a Keras file: what an import must equal."""

from pathlib import Path

import numpy as np
from jaxtyping import Float64


def keras_logits(path: Path, log_mel: Float64[np.ndarray, "bands frames"]) -> Float64[np.ndarray, " classes"]:
    """Run a Keras file of the DCASE 2021 baseline on one clip, in float64 and without any of our networks.

    Shares no code with the importer: channels stay last, kernels and dense rows stay as the file has them.

    Parameters
    ----------
    path : Path
        conv-BN-ReLU, conv-BN-ReLU, max pool 5×5, conv-BN-ReLU, max pool 4×100, flatten, dense ReLU, dense.
    log_mel : ndarray, shape (bands, frames)

    Returns
    -------
    ndarray, shape (classes,)
        Before the softmax.
    """
    arrays = _weights(path)
    x = log_mel[:, :, None]
    for block, pool in enumerate((None, (5, 5), (4, 100))):
        kernel, bias, gamma, beta, mean, variance = arrays[6 * block : 6 * block + 6]
        x = _same_convolution(x, kernel) + bias
        x = np.maximum(gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta, 0.0)
        if pool is not None:
            high, long = x.shape[0] // pool[0], x.shape[1] // pool[1]
            cut = x[: high * pool[0], : long * pool[1]]
            x = cut.reshape(high, pool[0], long, pool[1], -1).max(axis=(1, 3))
    first, first_bias, second, second_bias = arrays[18:22]
    return np.maximum(x.reshape(-1) @ first + first_bias, 0.0) @ second + second_bias


def _weights(path: Path) -> list[Float64[np.ndarray, "..."]]:
    import h5py  # heavy, and needed here only

    with h5py.File(path, "r") as file:
        root = file["model_weights"]
        names = [name.decode() if isinstance(name, bytes) else name for name in root.attrs["layer_names"]]
        found = []
        for name in names:
            for weight in root[name].attrs["weight_names"]:
                inner = weight.decode() if isinstance(weight, bytes) else weight
                found.append(np.asarray(root[name][inner], dtype=np.float64))
    return found


def _same_convolution(
    x: Float64[np.ndarray, "bands frames channels"], kernel: Float64[np.ndarray, "high long channels filters"]
) -> Float64[np.ndarray, "bands frames filters"]:
    bands, frames, _ = x.shape
    high, long, _, filters = kernel.shape
    padded = np.pad(x, ((high // 2, high // 2), (long // 2, long // 2), (0, 0)))
    out = np.zeros((bands, frames, filters))
    for row in range(high):
        for column in range(long):
            out += padded[row : row + bands, column : column + frames] @ kernel[row, column]
    return out
