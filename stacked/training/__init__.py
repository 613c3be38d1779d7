"""Training: the loss of a phase, the training loop, cached codes, early stopping, and `pretrain`."""
