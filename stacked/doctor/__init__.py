"""Checks and repairs of a store of runs after crashes, kills and moves.

Run `python -m stacked.doctor --dry-run` first.
"""
