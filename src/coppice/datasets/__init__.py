"""Clips: tables of labelled audio, their splits, and the store of their features."""
