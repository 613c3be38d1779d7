"""What all studies share: arms, tuning, command line, workers, records."""
