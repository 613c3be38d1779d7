"""Rows of records, read strictly, and what follows from them: means, intervals, paired differences."""
