"""Evaluation of a trained stack: reconstruction errors, probes, classifiers, curves and pictures."""
