"""A whole run: where data, stack, training, measurement and record meet; checkpoints and resuming."""
