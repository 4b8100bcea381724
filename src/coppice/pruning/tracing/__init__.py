"""Which filter each channel depends on: found by running a network once, then pure data."""
