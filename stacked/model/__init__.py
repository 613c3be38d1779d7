"""The stack of stages, and the files of trained stacks."""
