"""Evaluation of a trained stack: reconstruction errors, probes, fine-tuning of classifiers, and pictures."""
