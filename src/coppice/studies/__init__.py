"""Many runs: cross-validation over folds and seeds."""
