"""Codes of a few values: maps, nearest neighbours and reconstruction."""
