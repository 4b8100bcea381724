"""Convolutions of a training step with fewer multiplications, as C for the machine it runs on."""
