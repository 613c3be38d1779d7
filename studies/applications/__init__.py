"""Studies of what autoencoders are used for, one folder a question."""
