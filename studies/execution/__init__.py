"""The execution of a study's runs: one run and its record, worker processes, their threads and their progress."""
