"""Training: the loss of a phase, the one loop, kept codes, early stopping, and `pretrain`."""
