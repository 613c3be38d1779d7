"""Measurements of a trained stack: errors, probes, classifiers, curves and pictures."""
