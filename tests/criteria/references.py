"""The published methods, filter by filter in NumPy and float64, written from their descriptions."""

import numpy as np


def prototypes(weight):
    rows = []
    for one in weight.reshape(*weight.shape[:2], -1):
        u, _, vt = np.linalg.svd(one.T, full_matrices=True)
        column = np.outer(u[:, 0], vt[0])[:, 0]
        rows.append(column / np.linalg.norm(column))
    return np.array(rows)


def greedy(distances):
    """Return the set that stays, and every filter's distance to its nearest other one."""
    distances = distances.copy()
    np.fill_diagonal(distances, np.inf)
    nearest, delta = distances.argmin(axis=1), distances.min(axis=1)
    important, redundant = [], []
    for index in np.argsort(delta, kind="stable"):
        if index not in redundant:
            important.append(int(index))
            redundant.append(nearest[index])
    return tuple(sorted(important)), delta


def greedy_order(distances):
    """Return the order of removal: what each pass marks and does not keep, pass after pass."""
    left, order = list(range(len(distances))), []
    while len(left) > 1:
        part = distances[np.ix_(left, left)].copy()
        np.fill_diagonal(part, np.inf)
        nearest = part.argmin(axis=1)
        important, marked = [], []
        for index in np.argsort(part.min(axis=1), kind="stable").tolist():
            if index not in marked:
                important.append(index)
                if nearest[index] not in marked:
                    marked.append(int(nearest[index]))
        gone = [index for index in marked if index not in important]
        order += [left[index] for index in gone]
        left = [one for place, one in enumerate(left) if place not in gone]
    return (*order, *left)


def cosine(weight):
    """Return prototypes, the set of the Interspeech 2022 paper, and nearest distances."""
    rows = prototypes(weight)
    keep, delta = greedy((1 - rows @ rows.T).round(12))
    return rows, keep, delta


def nystrom_similarities(rows, columns, k):
    chosen = rows @ rows[columns].T
    u, s, vt = np.linalg.svd(chosen[columns])
    reduced = (u[:, :k] * s[:k]) @ vt[:k]
    return chosen @ np.linalg.pinv(reduced, rcond=1e-10) @ chosen.T


def operator_norm(weight, order_free=False):
    filters, channels = weight.shape[:2]
    kernels = weight.reshape(filters, channels, -1)
    total = np.zeros(filters)
    for channel in range(channels):
        deviations = kernels[:, channel] - kernels[:, channel].mean(axis=0)
        u, _, vt = np.linalg.svd(deviations, full_matrices=False)
        pattern = np.outer(u[:, 0], vt[0])[0]
        projections = deviations @ (pattern / np.linalg.norm(pattern))
        total += projections**2 if order_free else projections
    scores = total if order_free else total**2
    return scores / scores.max()
