"""One file per published way to rank the filters of a layer."""

from coppice.criteria import (
    cosine_similarity,
    cosine_similarity_2022,
    geometric_mean_deviation,
    geometric_median,
    l1,
    random,
)
from coppice.criteria.ranking import Ranking
from coppice.criteria.registry import criterion, criterion_names, rank

__all__ = [
    "Ranking",
    "cosine_similarity",
    "cosine_similarity_2022",
    "criterion",
    "criterion_names",
    "geometric_mean_deviation",
    "geometric_median",
    "l1",
    "random",
    "rank",
]
