"""Reads and checks the rows of records, and computes means, intervals and paired differences."""
