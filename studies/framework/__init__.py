"""The one `main` of all studies, and studies of training runs: planning, equal budgets, tuning, workers, views in MLflow."""
