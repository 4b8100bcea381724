"""One fit in several processes: on GPUs, on cores, on machines."""
