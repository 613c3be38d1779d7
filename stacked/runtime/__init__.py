"""The process that a run executes in: seeds, determinism, torch's settings, signals, memory, progress, environment."""
