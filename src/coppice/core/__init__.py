"""What every room needs: the error class, seeds, files that appear whole, units, progress."""
