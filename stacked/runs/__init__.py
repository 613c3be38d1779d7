"""A complete run, which combines data, stack, training, evaluation and records; checkpoints and resuming."""
