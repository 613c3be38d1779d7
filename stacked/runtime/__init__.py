"""This process: seeds, determinism, torch's settings, signals, memory, progress, and what ran on what."""
