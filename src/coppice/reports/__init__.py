"""Figures and the HTML page that a run leaves."""
