"""Splits in memory, how they are divided, the interface of a dataset, and the formats of files: IDX, archives, tables."""
