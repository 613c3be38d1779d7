"""Requests to an MLflow server: a deadline for each call, limits on the size of answers, and checks of what is answered."""
