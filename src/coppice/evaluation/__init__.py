"""Accuracy, log-loss, confusion and their intervals, from posteriors."""
