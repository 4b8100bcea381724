"""Cosine similarity against the published way: one full SVD per filter, one call per pair of filters."""

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from coppice.criteria.registry import rank


def published(weight: np.ndarray) -> list[int]:
    """Rank as the released code does, in Python loops."""
    filters, channels = weight.shape[:2]
    rows = []
    for one in weight.reshape(filters, channels, -1):
        u, _, vt = np.linalg.svd(one.T, full_matrices=True)
        column = np.outer(u[:, 0], vt[0])[:, 0]
        rows.append(column / np.linalg.norm(column))
    distances = np.full((filters, filters), np.inf)
    for i in range(filters):
        for j in range(filters):
            if i != j:
                cosine = np.dot(rows[i], rows[j]) / np.sqrt(np.dot(rows[i], rows[i]) * np.dot(rows[j], rows[j]))
                distances[i, j] = np.round(1 - cosine, 12)
    nearest = distances.argmin(axis=1)
    important: list[int] = []
    redundant: set[int] = set()
    for index in np.argsort(distances.min(axis=1), kind="stable").tolist():
        if index not in redundant:
            important.append(index)
            redundant.add(int(nearest[index]))
    return sorted(important)


def median_seconds(function: Callable[[], object], repeats: int) -> float:
    """Return the median wall-clock time of a call, after one that is not counted."""
    function()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def main() -> None:
    """Run the comparison on one thread."""
    torch.set_num_threads(1)  # small matrices: threads of two libraries would only spin against each other
    with threadpool_limits(1):
        compare()


def compare() -> None:
    """Print one line per size of layer: medians of wall-clock time and their ratio."""
    print("filters  published_ms  coppice_ms  ratio")
    for filters in (64, 128, 256, 512):
        weight = np.random.default_rng(0).standard_normal((filters, filters, 3, 3))
        tensor = torch.from_numpy(weight)
        assert list(rank(tensor, "cosine_similarity").keep or ()) == published(weight)
        repeats = 3 if filters < 256 else 1
        slow = median_seconds(lambda weight=weight: published(weight), repeats)
        fast = median_seconds(lambda tensor=tensor: rank(tensor, "cosine_similarity"), 9)
        print(f"{filters:7d}  {1e3 * slow:12.1f}  {1e3 * fast:10.2f}  {slow / fast:5.0f}")


if __name__ == "__main__":
    main()
