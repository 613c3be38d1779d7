"""What a study leaves in its folder and how it is kept safe: rows, samples, the lock, and the index of committed records."""
