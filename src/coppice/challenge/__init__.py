"""The DCASE desk: limits of five years' Task 1, submission packages, their validation, official tables."""
