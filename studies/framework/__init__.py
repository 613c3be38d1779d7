"""`main` of all studies, and studies of training runs: planning, equal budgets, tuning, worker processes, MLflow views."""
