"""Reads and checks the rows of records, computes means, intervals and paired differences, and compares records."""
