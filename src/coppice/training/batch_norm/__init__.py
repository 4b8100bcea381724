"""Batch normalisation of a training step, as C for the machine it runs on."""
