"""Datasets of images, one module each."""
