"""Betweenness centrality of a complete graph with lengths of any sign."""

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
PAIRS = 2**15  # of source and node at a time: a quarter of a MiB an array


def betweenness_centrality(lengths: Values) -> Values:
    """Return the share of shortest paths between two other nodes that lead through each node.

    Brandes, "A faster algorithm for betweenness centrality" (2001), with Dijkstra's search from many sources at
    once. Dijkstra's search presumes lengths that are not negative; with others it is still followed to the letter, as
    ``networkx.betweenness_centrality`` does: a node that has been reached is final, and what would lead to it by a
    shorter way later is not looked at.

    Parameters
    ----------
    lengths : array of float [shape=(nodes, nodes)]
        Symmetric; the diagonal is not looked at.

    Returns
    -------
    array of float [shape=(nodes,)], in [0, 1]
        Divided by the number of pairs of other nodes.

    Examples
    --------
    >>> betweenness_centrality(np.array([[0.0, 1.0, 5.0], [1.0, 0.0, 1.0], [5.0, 1.0, 0.0]])).tolist()
    [0.0, 1.0, 0.0]
    """
    nodes = len(lengths)
    if nodes < 3:
        return np.zeros(nodes)
    lengths = lengths.copy()
    np.fill_diagonal(lengths, np.inf)
    step = max(1, PAIRS // nodes)
    total = np.zeros(nodes)
    for begin in range(0, nodes, step):
        total += _dependencies(lengths, np.arange(begin, min(nodes, begin + step)))
    return total / ((nodes - 1) * (nodes - 2))


def _dependencies(lengths: Values, sources: NDArray[np.int64]) -> Values:
    """Return how many shortest paths from the sources lead through each node, as shares of those to the same end."""
    nodes, here = len(lengths), np.arange(len(sources))
    waiting = np.full(
        (len(sources), nodes), np.inf
    )  # distances of nodes that are not final, infinite for those that are
    waiting[here, sources] = 0.0
    final = np.full_like(waiting, np.inf)  # the other way round
    paths = np.zeros_like(waiting)
    reached = np.empty((nodes, len(sources)), dtype=np.int64)
    for place in range(nodes):
        reached[place] = node = waiting.argmin(axis=1)
        distance, edges = waiting[here, node], lengths[node]
        before = final + edges == distance[:, None]
        paths[here, node] = np.einsum("ij,ij->i", paths, before) if place else 1.0
        final[here, node] = distance
        waiting[here, node] = np.inf
        edges += distance[:, None]
        np.minimum(waiting, edges, out=waiting, where=final == np.inf)
    shares = np.zeros_like(waiting)
    for node in reached[:0:-1]:
        distance = final[here, node]
        final[here, node] = np.inf  # only those that were reached before it can lead to it
        before = final + lengths[node] == distance[:, None]
        shares += before * paths * ((1 + shares[here, node]) / paths[here, node])[:, None]
    shares[here, sources] = 0.0
    totals: Values = shares.sum(axis=0)
    return totals
