"""Energy and CO2 of computing, estimated from power and time."""
