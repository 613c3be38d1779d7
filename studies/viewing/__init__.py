"""What a study shows in MLflow: descriptions, saved views, committed records, and the user interface."""
