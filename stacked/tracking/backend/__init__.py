"""Access to MLflow (runs, files, models) over SQLite or HTTP, with time limits."""
