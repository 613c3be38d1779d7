"""Splits in memory and the file formats they are read from: image files, IDX, archives."""
