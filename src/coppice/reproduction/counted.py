"""Counts of networks that are built for it, without memory or arithmetic."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from coppice.complexity.conventions import Count, count
from coppice.networks.registry import build_network


def counted(
    data: Path,
    *,
    network: str,
    shape: tuple[int, ...],
    convention: str,
    what: str,
    config: tuple[tuple[str, Any], ...] = (),
) -> int:
    """Build a network and count it.

    Parameters
    ----------
    data : Path
        Not needed.
    network : str
        Registered name.
    shape : tuple of int
        Of one input, without the batch.
    convention : str
        See :func:`coppice.complexity.conventions.count`.
    what : {"params", "macs", "size_bytes"}
        Which of its numbers.
    config : tuple of (name, value)
        What the architecture takes.

    Examples
    --------
    >>> counted(Path(), network="dcase2021", shape=(1, 40, 500), convention="keras_total", what="params")
    46246
    """
    return int(getattr(_count(network, shape, convention, config), what))


@lru_cache(maxsize=128)
def _count(network: str, shape: tuple[int, ...], convention: str, config: tuple[tuple[str, Any], ...]) -> Count:
    with torch.device("meta"):
        built = build_network(network, **dict(config))
        return count(built.eval(), convention, example=torch.empty(1, *shape))
