"""Architectures, the classifier that wraps one, and the checkpoint that stores it."""
