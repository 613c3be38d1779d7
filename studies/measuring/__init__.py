"""Studies of measurements: run each method with each seed, write the values to one tidy table, and generate its page."""
