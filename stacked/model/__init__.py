"""The stack of stages, and the files that trained stacks are kept in."""
