"""Lossy compression of images by quantised codes."""
