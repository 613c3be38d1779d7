"""Recording of runs in MLflow that loses nothing in an outage of the store and never delays training for long."""
