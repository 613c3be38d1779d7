"""Damage on purpose: files with flipped bits, small files of large cost, odd answers of a server, killed processes."""
