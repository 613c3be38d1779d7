"""Splits in memory and the file formats they are read from: IDX, archives, tables."""
