"""Estimates of the FLOPs, memory, time and disk space of a run, before and during training."""
