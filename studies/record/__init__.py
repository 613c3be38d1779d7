"""The record of a study: rows, samples, the lock and the backup of its folder, and the index of committed records."""
