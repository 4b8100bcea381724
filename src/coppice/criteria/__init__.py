"""One file per published way to rank the filters of a layer."""

from coppice.criteria import (
    apoz,
    bn_scale,
    cosine_similarity,
    cosine_similarity_2022,
    feature_map_rank,
    feature_map_similarity,
    geometric_mean_deviation,
    geometric_median,
    graph_centrality,
    l1,
    l2,
    mean_activation,
    nuclear_norm,
    nystrom,
    operator_norm,
    random,
    reconstruction,
    taylor,
)
from coppice.criteria.ranking import Ranking
from coppice.criteria.registry import criterion, criterion_names, rank

__all__ = [
    "Ranking",
    "apoz",
    "bn_scale",
    "cosine_similarity",
    "cosine_similarity_2022",
    "criterion",
    "criterion_names",
    "feature_map_rank",
    "feature_map_similarity",
    "geometric_mean_deviation",
    "geometric_median",
    "graph_centrality",
    "l1",
    "l2",
    "mean_activation",
    "nuclear_norm",
    "nystrom",
    "operator_norm",
    "random",
    "rank",
    "reconstruction",
    "taylor",
]
