"""Fitting and fine-tuning with Lightning."""
