"""Recording runs in MLflow: nothing is lost in an outage, and training never waits for long."""
