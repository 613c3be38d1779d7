"""Helpers that every room may use: errors, input checks, serialization, atomic file writes and paths."""
