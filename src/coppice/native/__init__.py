"""Machine code: the C compiler of this machine, and libraries made with it."""
