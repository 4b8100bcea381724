"""Parameters, MACs, bytes, latency and memory, each with its convention."""
