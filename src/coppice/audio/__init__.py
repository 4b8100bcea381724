"""Sound to features: decoding, windows, mel filterbanks, log-mel front ends."""
