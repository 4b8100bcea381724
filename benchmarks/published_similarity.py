"""Similarity pruning as its papers describe it: one full decomposition per filter, one call per pair of filters."""

import time

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cosine

Weights = NDArray[np.float64]
WHOLE = 512  # filters up to which everything is computed
SAMPLED = 6  # filters of 1024 channels whose decomposition is timed beyond that; fewer where they are larger


def prototype(one: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the first column of u₁v₁ᵀ of a (kernel positions × channels) matrix, normalised."""
    u, _, vt = np.linalg.svd(one)  # full_matrices=True, NumPy's default
    column = np.outer(u[:, 0], vt[0])[:, 0]
    return column / np.linalg.norm(column)


def kept(distances: NDArray[np.float64]) -> list[int]:
    """Return the filters that the greedy pass keeps."""
    neighbours = [next(int(j) for j in np.argsort(row, kind="stable") if j != i) for i, row in enumerate(distances)]
    nearest = np.array([distances[i, j] for i, j in enumerate(neighbours)])
    important: list[int] = []
    redundant: set[int] = set()
    for index in np.argsort(nearest, kind="stable").tolist():
        if index not in redundant:
            important.append(index)
            redundant.add(neighbours[index])
    return sorted(important)


def published(weight: Weights) -> tuple[list[int], float, bool]:
    """Return the set that is kept, the processor time in seconds, and whether that time is extrapolated.

    Beyond 512 filters only some decompositions and some rows of distances are timed, and the time of all is worked out
    from their share; the set then comes from the same formulas in vector form.
    """
    filters, channels = weight.shape[:2]
    kernels = weight.reshape(filters, channels, -1).transpose(2, 1, 0)  # as Keras stores them: (positions, channels, d)
    whole = filters <= WHOLE
    some = filters if whole else max(2, SAMPLED * 1024**2 // channels**2)
    begin = time.process_time()
    vectors = np.array([prototype(kernels[:, :, index]) for index in range(some)])
    seconds = (time.process_time() - begin) * filters / some
    if not whole:
        u, _, vt = np.linalg.svd(kernels.transpose(2, 0, 1), full_matrices=False)
        vectors = u[:, :, 0] * np.sign(vt[:, 0, :1])
    rows = filters if whole else 8
    begin = time.process_time()
    distances = np.array([[cosine(vectors[i], vectors[j]) for j in range(filters)] for i in range(rows)])
    seconds += (time.process_time() - begin) * filters / rows
    if not whole:
        distances = 1 - vectors @ vectors.T
    begin = time.process_time()
    important = kept(distances.round(12))
    return important, seconds + time.process_time() - begin, not whole
