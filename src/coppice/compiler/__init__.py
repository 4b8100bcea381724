"""A compiler for pruned networks: plain C whose time follows the MACs."""
