"""MLflow's user interface: saved views of a study, and a local server to open them."""
