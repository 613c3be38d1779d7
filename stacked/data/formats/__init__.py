"""Splits in memory, and the files that they are read from: image files, the IDX format, archives."""
