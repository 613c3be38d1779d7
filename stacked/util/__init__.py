"""Helpers that every package may use: errors, input checks, serialization, atomic file writes and paths."""
