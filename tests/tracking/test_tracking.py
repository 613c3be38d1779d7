"""What a run leaves in the store, read back through MLflow's own client."""

from __future__ import annotations

import json
import math
import time
import warnings
from pathlib import Path

import pytest

from stacked.tracking.backend.circuit_breaker import CircuitBreaker
from stacked.tracking.backend.client import MAX_METRICS
from stacked.tracking.metric_log import MetricLog, read_entries
from stacked.tracking.tracker import Run, Store, Tracker, open_store, study_run
from stacked.tracking.uploader import Uploader
from stacked.util.errors import InputError
from tests.helpers.tracked import EXPERIMENT, STEPS, arm, children, history, run_of, train

from mlflow import MlflowClient  # isort: skip


def test_arm_is_at_the_root_and_stages_are_its_children_without_an_arm(store: Store, tmp_path: Path) -> None:
    tracker = arm(store, tmp_path / "work")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        train(tracker)
    run = run_of(store, tracker)
    assert (run.info.run_name, run.info.status) == ("layerwise/s0", "FINISHED")
    assert run.data.params == {"lr": "0.1"}
    assert "mlflow.parentRunId" not in run.data.tags
    expected = {"kind": "arm", "arm": "layerwise", "seed": "0", "study": "demo", "mlflow.runColor": "#228833"}
    assert expected.items() <= run.data.tags.items()

    [stage] = children(store, tracker)
    assert (stage.info.run_name, stage.info.status) == ("layerwise/s0 stage 1", "FINISHED")
    expected = {"kind": "stage", "stage_index": "1", "stage_of": "layerwise", "study": "demo"}
    assert expected.items() <= stage.data.tags.items()
    assert "arm" not in stage.data.tags
    assert stage.data.params == {"channels": "4"}

    curve = [(step, 1 / (1 + step)) for step in STEPS]
    assert history(store, tracker.run_id, "eval/recon_mse") == curve
    assert history(store, tracker.run_id, "progress/stage") == [(step, 1.0) for step in STEPS]
    assert history(store, stage.info.run_id, "stage/loss") == curve


def test_view_query_finds_arm_runs_only(store: Store, tmp_path: Path) -> None:
    for name in ("layerwise/s0", "joint/s0"):
        train(arm(store, tmp_path / name, name, experiment="query"))
    experiment = MlflowClient(store.uri).get_experiment_by_name("query")
    runs = MlflowClient(store.uri).search_runs([experiment.experiment_id], "tags.study = 'demo' and tags.kind = 'arm'")
    assert sorted(run.info.run_name for run in runs) == ["joint/s0", "layerwise/s0"]
    assert experiment.artifact_location == store.artifacts.as_uri()


def test_points_are_on_disk_before_they_are_sent(store: Store, tmp_path: Path) -> None:
    with arm(store, tmp_path / "work") as tracker:
        before = time.time() * 1000
        tracker.log({"eval/recon_mse": 0.5}, 7)
        [point] = read_entries(tmp_path / "work" / "points.jsonl")
        assert (point.run, point.step, point.metrics) == ("layerwise/s0", 7, {"eval/recon_mse": 0.5})
        assert before - 1 <= point.time <= time.time() * 1000
        assert history(store, tracker.run_id, "eval/recon_mse") == []
        assert tracker.unsent == 1
        assert tracker.flush()
        assert tracker.unsent == 0
        [metric] = MlflowClient(store.uri).get_metric_history(tracker.run_id, "eval/recon_mse")
        assert (metric.step, metric.value, metric.timestamp) == (7, 0.5, point.time)


def test_a_hundred_points_are_sent_unasked(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stacked.tracking.uploader.BATCH_SECONDS", math.inf)
    with arm(store, tmp_path / "work") as tracker:
        for step in range(99):
            tracker.log({"train/loss": 1.0}, step)
        assert tracker.unsent == 99
        tracker.log({"train/loss": 1.0}, 99)
        assert tracker.unsent == 0


def test_points_are_sent_after_five_seconds() -> None:
    clock, sent = [0.0], []
    uploader = Uploader(lambda: sent.append(clock[0]), "store", "folder", CircuitBreaker(clock=lambda: clock[0]))
    for now in (1.0, 4.9, 5.0, 6.0, 9.9, 10.0):
        clock[0] = now
        uploader.add()
    assert sent == [5.0, 10.0]


def test_more_metrics_than_one_call_takes(store: Store, tmp_path: Path) -> None:
    with arm(store, tmp_path / "work") as tracker:
        tracker.log({f"eval/m{i}": float(i) for i in range(MAX_METRICS + 1)}, 3)
    assert len(run_of(store, tracker).data.metrics) == MAX_METRICS + 1
    assert run_of(store, tracker).data.metrics[f"eval/m{MAX_METRICS}"] == MAX_METRICS


def test_a_resumed_run_repeats_steps_without_duplicates(store: Store, tmp_path: Path) -> None:
    def go(tracker: Tracker, stage_steps: range, steps: range, error: Exception | None) -> Run:
        with tracker:
            with tracker.phase(1, "stage 1", {"channels": 4}) as stage:
                for step in stage_steps:
                    stage.log({"stage/loss": float(step)}, step)
            for step in steps:
                tracker.log({"eval/recon_mse": float(step)}, step)
                if error and step == steps[-1]:
                    raise error
                tracker.log({"eval/probe_acc": float(step)}, step)
        return stage

    first = arm(store, tmp_path / "work")
    with pytest.raises(RuntimeError):
        go(first, range(0, 30, 10), range(0, 20, 10), RuntimeError("lost the device"))
    assert run_of(store, first).info.status == "FAILED"
    assert run_of(store, first).data.tags["failure"] == "RuntimeError: lost the device"
    assert history(store, first.run_id, "eval/probe_acc") == [(0, 0.0)]

    second = arm(store, tmp_path / "work")
    assert run_of(store, second).info.status == "RUNNING"
    stage = go(second, range(0, 40, 10), range(0, 40, 10), None)
    expected = [(step, float(step)) for step in range(0, 40, 10)]
    assert second.run_id == first.run_id
    assert [child.info.run_id for child in children(store, second)] == [stage.run_id]
    assert history(store, stage.run_id, "stage/loss") == expected
    assert history(store, second.run_id, "eval/recon_mse") == expected
    assert history(store, second.run_id, "eval/probe_acc") == expected
    assert run_of(store, second).info.status == "FINISHED"
    assert "failure" not in run_of(store, second).data.tags


def test_a_process_killed_between_sending_and_noting_it_leaves_no_duplicates(store: Store, tmp_path: Path) -> None:
    first = arm(store, tmp_path / "work")
    for step in STEPS:
        first.log({"eval/recon_mse": float("nan") if step == 10 else 1.0, "train/loss": float(step)}, step)
    record = (tmp_path / "work" / "run.json").read_text()
    first.flush()
    (tmp_path / "work" / "run.json").write_text(record)
    with (tmp_path / "work" / "points.jsonl").open("a") as file:
        file.write('{"run": "layerwise/s0", "step": 30, "ti')

    second = arm(store, tmp_path / "work")
    assert second.unsent == 0
    assert second.run_id == first.run_id
    assert history(store, second.run_id, "train/loss") == [(step, float(step)) for step in STEPS]
    assert [step for step, _ in history(store, second.run_id, "eval/recon_mse")] == list(STEPS)
    with second:
        second.log({"train/loss": 30.0}, 30)
    assert history(store, second.run_id, "train/loss")[-1] == (30, 30.0)


def test_a_run_deleted_in_the_store_is_made_anew_with_all_points(store: Store, tmp_path: Path) -> None:
    first = arm(store, tmp_path / "work")
    train(first)
    MlflowClient(store.uri).delete_run(first.run_id)
    second = arm(store, tmp_path / "work")
    train(second)
    assert second.run_id != first.run_id
    assert history(store, second.run_id, "eval/recon_mse") == [(step, 1 / (1 + step)) for step in STEPS]
    [stage] = children(store, second)
    assert history(store, stage.info.run_id, "stage/loss") == [(step, 1 / (1 + step)) for step in STEPS]


def test_another_store_gets_the_whole_run_and_stages_that_are_not_run_again(store: Store, tmp_path: Path) -> None:
    train(arm(store, tmp_path / "work"))
    other = open_store(tmp_path / "other")
    with arm(other, tmp_path / "work") as tracker:
        pass
    assert history(other, tracker.run_id, "eval/recon_mse") == [(step, 1 / (1 + step)) for step in STEPS]
    [stage] = children(other, tracker)
    assert history(other, stage.info.run_id, "stage/loss") == [(step, 1 / (1 + step)) for step in STEPS]
    assert stage.info.status == "FINISHED"


def test_a_resumed_run_has_the_same_parameters(store: Store, tmp_path: Path) -> None:
    train(arm(store, tmp_path / "work"))
    with pytest.raises(InputError, match=r"lr: 0\.1 then, 0\.2 now"):
        arm(store, tmp_path / "work", lr=0.2)


def test_an_interrupted_run_is_killed(store: Store, tmp_path: Path) -> None:
    tracker = arm(store, tmp_path / "work")

    def interrupt() -> None:
        with tracker, tracker.phase(1, "stage 1", {}) as stage:
            stage.log({"stage/loss": 1.0}, 0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    [stage] = children(store, tracker)
    assert run_of(store, tracker).info.status == stage.info.status == "KILLED"
    assert history(store, stage.info.run_id, "stage/loss") == [(0, 1.0)]


def test_values_that_are_not_finite_are_nan_and_tagged(store: Store, tmp_path: Path) -> None:
    with arm(store, tmp_path / "work") as tracker:
        tracker.log({"train/loss": 1.0}, 0)
        assert "diverged" not in run_of(store, tracker).data.tags
        for step, value in enumerate((math.inf, -math.inf, math.nan), start=1):
            tracker.log({"train/loss": value}, step)
    values = [value for _, value in history(store, tracker.run_id, "train/loss")]
    assert values[0] == 1.0
    assert [math.isnan(value) for value in values] == [False, True, True, True]
    assert run_of(store, tracker).data.tags["diverged"] == "true"
    for line in (tmp_path / "work" / "points.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


@pytest.mark.parametrize("name", ["eval/recon+mse", "", "/loss", "eval//loss", "eval/../loss", "a\nb"])
def test_a_metric_name_mlflow_refuses_is_refused_at_once(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="metric name"):
        MetricLog(tmp_path / "points.jsonl").add("run", {name: 1.0}, 0, 0)


def test_a_line_that_is_no_point_is_named(tmp_path: Path) -> None:
    path = tmp_path / "points.jsonl"
    MetricLog(path).add("run", {"a": 1.0}, 0, 0)
    path.write_text(path.read_text() + "garbage\n")
    with pytest.raises(InputError, match="line 2"):
        MetricLog(path)


def test_the_run_of_a_study_is_used_again(store: Store) -> None:
    for text in ("one", "two"):
        with study_run(store, EXPERIMENT, "demo") as run:
            run.text(text, "report.md")
            run_id = run.run_id
    with study_run(store, EXPERIMENT, "demo") as run:
        assert run.run_id == run_id
    assert {"kind": "study", "study": "demo"}.items() <= run_of(store, run).data.tags.items()
    assert run_of(store, run).data.metrics == {}
