"""What criteria look at: weights, and what layers hand on for clips."""
