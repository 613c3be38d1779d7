"""Robustness tests: damaged files, small files with large cost, invalid answers of a server, and killed processes."""
