"""MLflow's user interface: saved views of a study, and a server on loopback to look at them."""
