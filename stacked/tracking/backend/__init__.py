"""What is asked of MLflow: runs, files and models, over SQLite or HTTP, bounded in time."""
