"""Several networks into one decision."""
