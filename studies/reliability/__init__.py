"""Studies of reliability: kills, damage, and many runs in one process; the comparison of two records."""
