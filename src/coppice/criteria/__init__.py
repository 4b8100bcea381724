"""One file per published way to rank the filters of a layer."""
