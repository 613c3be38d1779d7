"""A complete run, which combines data, stack, training, evaluation and records; its curves, checkpoints and resuming."""
