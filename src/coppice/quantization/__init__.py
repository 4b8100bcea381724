"""Smaller number formats for what is left."""
