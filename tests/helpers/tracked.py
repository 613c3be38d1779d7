"""What the tests of recording share: a run as a study tracks it, and what the store has of it."""

from __future__ import annotations

import socket
from pathlib import Path

from stacked.tracking.tracker import Run, Store, Tracker

from mlflow import MlflowClient  # isort: skip

EXPERIMENT = "digits-conv-4-8"
STEPS = range(0, 30, 10)


def arm(
    store: Store, work: Path, name: str = "layerwise/s0", experiment: str = EXPERIMENT, **params: object
) -> Tracker:
    arm_name, seed = name.split("/s")
    tags = {"kind": "arm", "arm": arm_name, "seed": seed, "study": "demo", "mlflow.runColor": "#228833"}
    return Tracker(store, experiment, name=name, work=work, tags=tags, params={"lr": 0.1, **params})


def train(tracker: Tracker, steps: range = STEPS) -> None:
    with tracker:
        with tracker.phase(1, "stage 1", {"channels": 4}) as stage:
            for step in steps:
                stage.log({"stage/loss": 1 / (1 + step)}, step)
        for step in steps:
            tracker.log({"eval/recon_mse": 1 / (1 + step), "progress/stage": 1.0}, step)


def history(store: Store, run_id: str | None, key: str) -> list[tuple[int, float]]:
    assert run_id is not None
    return sorted((m.step, m.value) for m in MlflowClient(store.uri).get_metric_history(run_id, key))


def run_of(store: Store, run: Run):
    assert run.run_id is not None
    return MlflowClient(store.uri).get_run(run.run_id)


def children(store: Store, tracker: Tracker) -> list:
    experiment = MlflowClient(store.uri).get_run(tracker.run_id).info.experiment_id
    of_parent = f"tags.`mlflow.parentRunId` = '{tracker.run_id}'"
    return MlflowClient(store.uri).search_runs([experiment], of_parent)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
