"""The load of the machine beside the curves in MLflow, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from stacked.runs.run import run
from stacked.runtime import system_metrics
from stacked.runtime.system_metrics import PREFIX, SystemMetrics
from stacked.tracking.tracker import Store, Tracker, open_store
from studies.reliability.compare_mlflow import mlflow_differences
from tests.helpers.runs import SPEC
from tests.helpers.splits import toy_splits
from tests.helpers.tracked import arm, history, run_of, train

from mlflow import MlflowClient  # isort: skip

MEMORY = ("system_memory_usage_megabytes", "system_memory_usage_percentage", "process_memory_usage_megabytes")
linux = pytest.mark.skipif(not Path("/proc/stat").exists(), reason="only Linux tells the load of the machine")


@linux
def test_every_point_of_a_curve_has_the_load_of_the_machine_in_mlflow_alone(store: Store, tmp_path: Path) -> None:
    tags = {"kind": "arm", "arm": "joint", "seed": 0}
    with Tracker(store, "loads", name="joint/s0", work=tmp_path / "work", tags=tags, params={}) as tracker:
        done = run(SPEC, toy_splits(), tracker=tracker)
    steps = [step for step, _ in history(store, tracker.run_id, "eval/recon_mse")]
    for name in MEMORY:
        points = history(store, tracker.run_id, PREFIX + name)
        assert [step for step, _ in points] == steps
        assert all(value > 0 for _, value in points)
    busy = history(store, tracker.run_id, f"{PREFIX}cpu_utilization_percentage")
    assert busy
    assert all(0 <= value <= 100 for _, value in busy)
    recorded = [*done.row, *(name for point in done.curve for name in point)]
    assert not any(name.startswith(PREFIX) for name in recorded)
    [model] = MlflowClient(store.uri).search_logged_models([run_of(store, tracker).info.experiment_id])
    assert model.metrics
    assert not any(metric.key.startswith(PREFIX) for metric in model.metrics)


def written(proc: Path, busy: int, idle: int) -> None:
    (proc / "stat").write_text(f"cpu  {busy} 0 0 {idle} 0 0 0 0 7 0\ncpu0 1 2 3\n")


def test_the_utilisation_is_that_since_the_last_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_metrics, "PROC", tmp_path)
    (tmp_path / "meminfo").write_text("MemTotal: 4000 kB\nMemFree: 5 kB\nMemAvailable: 1000 kB\n")
    written(tmp_path, 100, 900)
    metrics = SystemMetrics()
    written(tmp_path, 130, 910)
    memory = {"system/system_memory_usage_megabytes": 3.1, "system/system_memory_usage_percentage": 75.0}
    assert metrics.read() == {"system/cpu_utilization_percentage": 75.0, **memory}
    assert metrics.read() == memory  # no time has passed
    written(tmp_path, 130, 930)
    assert metrics.read()["system/cpu_utilization_percentage"] == 0.0


@pytest.mark.parametrize("content", [None, "", "cpu one two\n", "MemTotal: all kB\n"])
def test_a_system_that_tells_nothing_stops_nothing(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system_metrics, "PROC", tmp_path)
    (tmp_path / "self").mkdir()
    for name in ("stat", "meminfo", "self/statm"):
        if content is not None:
            (tmp_path / name).write_text(content)
    assert SystemMetrics().read() == {}


def test_stores_are_compared_without_the_load_of_the_machine(tmp_path: Path) -> None:
    stores = [open_store(tmp_path / name) for name in ("one", "other")]
    for place, store in enumerate(stores):
        with (tracker := arm(store, tmp_path / f"work {place}")):
            tracker.log({f"{PREFIX}cpu_utilization_percentage": 10.0 * place}, 0)
            if place:
                tracker.log({f"{PREFIX}cpu_utilization_percentage": 50.0}, 10)
        train(tracker)
    assert mlflow_differences(stores[0].root, stores[1].root) == []
