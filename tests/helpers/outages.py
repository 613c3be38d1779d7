"""What a tracker notes while its store fails, and whether all of it arrived."""

from __future__ import annotations

from stacked.tracking.backend.circuit_breaker import circuit_breaker_for
from stacked.tracking.metric_log import read_entries
from stacked.tracking.tracker import Store, Tracker

from mlflow import MlflowClient  # isort: skip


def later(store: Store) -> None:
    """Let an hour pass for whoever waits for the store to recover."""
    breaker, clock = circuit_breaker_for(store.uri), circuit_breaker_for(store.uri).clock
    breaker.clock = lambda: clock() + 3600


def log(tracker: Tracker, steps: range) -> None:
    for step in steps:
        tracker.log({"train/loss": float(step)}, step)


def is_whole(store: Store, tracker: Tracker, steps: range) -> bool:
    """Whether the store has each point once, with the time at which it was noted."""
    stored = MlflowClient(store.uri).get_metric_history(tracker.run_id, "train/loss")
    noted = read_entries(tracker._folder / "points.jsonl")
    return sorted((m.step, m.value, m.timestamp) for m in stored) == [
        (step, float(step), point.time) for step, point in zip(steps, noted, strict=True)
    ]
