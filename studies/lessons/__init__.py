"""Notebooks for classes."""
