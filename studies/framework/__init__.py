"""`main` of all studies, and studies of training runs: their plan, equal budgets, tuning, and forecasts."""
