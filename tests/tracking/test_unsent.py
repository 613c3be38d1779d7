"""What an outage held back is sent later, with its own times."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from stacked.tracking.backend.circuit_breaker import CircuitBreaker, circuit_breaker_for
from stacked.tracking.backend.client import StoreClient
from stacked.tracking.metric_log import read_entries
from stacked.tracking.tracker import Store, open_store
from stacked.tracking.uploader import Uploader
from stacked.viewing.server import serve, stop
from tests.helpers.tracked import STEPS, arm, children, free_port, history, run_of, train

from mlflow import MlflowClient  # isort: skip


@pytest.mark.slow
def test_an_outage_costs_little_and_is_made_good_with_the_original_times(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    away = open_store(tmp_path / "away")
    start = time.monotonic()
    with pytest.warns(RuntimeWarning, match="training goes on") as caught:  # noqa: PT031
        tracker = arm(away, tmp_path / "work", experiment="outage")
        for step in range(200):
            tracker.log({"eval/recon_mse": float(step)}, step)
        tracker.image("recon_grid", np.zeros((4, 4), np.uint8), 0)
        with tracker.phase(1, "stage 1", {}) as stage:
            stage.log({"stage/loss": 1.0}, 0)
    assert len([w for w in caught if w.category is RuntimeWarning]) == 1
    assert time.monotonic() - start < 10
    assert tracker.run_id is None
    points = read_entries(tmp_path / "work" / "points.jsonl")
    assert [point.step for point in points] == list(range(200))

    server = serve(store, port)
    try:
        with tracker:
            tracker.log({"eval/recon_mse": 200.0}, 200)
        stored = MlflowClient(away.uri).get_metric_history(tracker.run_id, "eval/recon_mse")
        points = read_entries(tmp_path / "work" / "points.jsonl")
        assert [(m.step, m.value, m.timestamp) for m in sorted(stored, key=lambda m: m.step)] == [
            (point.step, point.metrics["eval/recon_mse"], point.time) for point in points
        ]
        assert history(away, stage.run_id, "stage/loss") == [(0, 1.0)]
        assert run_of(away, tracker).info.status == "FINISHED"
        assert run_of(away, tracker).info.start_time <= points[0].time
        pictures = MlflowClient(away.uri).list_artifacts(tracker.run_id, "images")
        assert len([picture for picture in pictures if picture.path.endswith("png")]) == 1
    finally:
        stop(server)


def test_a_later_process_sends_what_an_outage_held_back(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ConnectionError("the store is away")

    with monkeypatch.context() as patch:
        patch.setattr(StoreClient, "log_metrics", refuse)
        first = arm(store, tmp_path / "work")
        with pytest.warns(RuntimeWarning, match="the store is away"):
            train(first)
    assert first.unsent == len(STEPS)
    circuit_breaker_for.cache_clear()  # as a new process has it
    second = arm(store, tmp_path / "work")
    assert second.unsent == 0
    assert history(store, second.run_id, "eval/recon_mse") == [(step, 1 / (1 + step)) for step in STEPS]
    [stage] = children(store, second)
    assert history(store, stage.info.run_id, "stage/loss") == [(step, 1 / (1 + step)) for step in STEPS]
    assert stage.info.status == "FINISHED"


def test_a_store_that_failed_is_left_alone_for_a_while() -> None:
    clock, tries = [0.0], []

    def fail_slowly() -> None:
        tries.append(clock[0])
        clock[0] += 10.0 if len(tries) == 2 else 1.0
        raise ConnectionError("away")

    uploader = Uploader(fail_slowly, "store", "folder", CircuitBreaker(clock=lambda: clock[0]))
    with pytest.warns(RuntimeWarning, match="away") as caught:  # noqa: PT031
        while clock[0] < 400:
            uploader.flush()
            clock[0] += 0.5
    assert len(caught) == 1
    assert tries == [0.0, 61.0, 271.0, 332.0, 393.0]
    assert not uploader.flush(pressing=True)
    assert len(tries) == 6
