"""The command line of studies of training: its options, YAML in it, what they mean, and how a command ends."""
