"""Coppice: prune, fine-tune, quantize and honestly measure audio CNNs."""

__version__ = "0.1.0"
