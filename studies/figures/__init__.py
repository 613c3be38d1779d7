"""Figures that all studies share: the style, axes, panels, curves and rows of images."""
