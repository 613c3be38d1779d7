"""What a run leaves in the store, read back through MLflow's own client."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from stacked.tracking.backend import store as mlflow_store
from stacked.tracking.backend.circuit_breaker import CircuitBreaker, circuit_breaker_for
from stacked.tracking.backend.client import MAX_METRICS, StoreClient
from stacked.tracking.metric_log import MetricLog, read_entries
from stacked.tracking.tracker import Run, Store, Tracker, open_store, study_run
from stacked.tracking.uploader import Uploader
from stacked.tracking.work_folder import held
from stacked.util.errors import InputError
from stacked.viewing.server import serve, stop
from studies.record.lock import alone
from tests.helpers.tracked import EXPERIMENT, STEPS, arm, children, free_port, history, run_of, train

from mlflow import MlflowClient  # isort: skip


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Creating the schema takes seconds: tests share one store and use experiments of their own."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def store(database: Path) -> Store:
    return open_store(database)


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
            with tracker.stage(1, "stage 1", {"channels": 4}) as stage:
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
        with tracker, tracker.stage(1, "stage 1", {}) as stage:
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


def test_pictures_and_files(store: Store, tmp_path: Path) -> None:
    figure = tmp_path / "figure.txt"
    figure.write_text("a figure")
    for _ in range(2):
        with arm(store, tmp_path / "work") as tracker:
            for step in (0, 10):
                tracker.image("recon_grid", np.full((8, 8, 3), step, np.uint8), step)
            tracker.image("filters", np.zeros((4, 6), np.uint8), 0)
            tracker.artifact(figure, "figures")
            tracker.text("{}", "spec.json")
    client = MlflowClient(store.uri)
    names = [Path(file.path).name for file in client.list_artifacts(tracker.run_id, "images")]
    series = [re.match(r"(\w+)\Wstep\W(\d+)\W", name) for name in names if name.endswith("png")]
    found = sorted((match[1], int(match[2])) for match in series if match)
    assert found == [("filters", 0), ("recon_grid", 0), ("recon_grid", 10)]
    assert [file.path for file in client.list_artifacts(tracker.run_id, "figures")] == ["figures/figure.txt"]
    assert "spec.json" in [file.path for file in client.list_artifacts(tracker.run_id)]


def test_the_folder_of_pictures_takes_nothing_else(store: Store, tmp_path: Path) -> None:
    with arm(store, tmp_path / "work") as tracker:
        with pytest.raises(InputError, match="images"):
            tracker.text("x", "images/note.txt")
        with pytest.raises(InputError, match="images"):
            tracker.artifact(tmp_path, "images")
        (tmp_path / "tree" / "images").mkdir(parents=True)
        with pytest.raises(InputError, match="images"):
            tracker.artifact(tmp_path / "tree")
        with pytest.raises(InputError, match=r"float64 \[2, 2\]"):
            tracker.image("grid", np.zeros((2, 2)), 0)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="nowhere"):
            tracker.artifact(tmp_path / "nowhere")


def test_datasets_are_inputs_without_a_path(store: Store, tmp_path: Path) -> None:
    for _ in range(2):
        with arm(store, tmp_path / "work") as tracker:
            tracker.dataset("mnist", "a" * 64, rows=50_000, shape=(1, 28, 28), context="train")
            tracker.dataset("mnist", "b" * 64, rows=10_000, shape=(1, 28, 28), context="test")
    inputs = run_of(store, tracker).inputs.dataset_inputs
    assert {(i.dataset.name, i.dataset.digest, i.tags[0].value) for i in inputs} == {
        ("mnist", "a" * 36, "train"),
        ("mnist", "b" * 36, "test"),
    }
    profile = json.loads(next(i.dataset.profile for i in inputs if i.tags[0].value == "train"))
    assert profile == {"features_shape": [50_000, 1, 28, 28], "features_size": 50_000 * 784}
    assert all("/" not in i.dataset.source for i in inputs)


def test_the_encoder_loads_back_as_it_was(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    monkeypatch.chdir(tmp_path)

    encoder = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, 2, 1), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten()
    )
    encoder[1].running_mean.fill_(0.3)
    batch = torch.rand(5, 1, 9, 9)
    with arm(store, tmp_path / "work") as tracker:
        tracker.model(encoder, batch[:1])
        tracker.model(encoder, batch[:1])
    assert encoder.training
    assert "MLFLOW_TRACKING_URI" not in os.environ
    run = run_of(store, tracker)
    [output] = run.outputs.model_outputs
    logged = MlflowClient(store.uri).get_logged_model(output.model_id)
    assert (logged.name, logged.experiment_id) == ("encoder", run.info.experiment_id)
    assert (logged.source_run_id, logged.status) == (tracker.run_id, "READY")
    assert logged.artifact_location.startswith(store.artifacts.as_uri())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["work", "work.lock"]
    mlflow.set_tracking_uri(store.uri)
    try:
        loaded = mlflow.pytorch.load_model(f"models:/{output.model_id}")
        info = mlflow.models.get_model_info(f"models:/{output.model_id}")
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
    assert torch.equal(loaded(batch), encoder.eval()(batch))
    assert info.signature.inputs.inputs[0].shape == (-1, 1, 9, 9)
    assert info.signature.outputs.inputs[0].shape == (-1, 100)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("foo://alice:secret@h/x", r"^foo://h/x cannot be opened as an MLflow store"),
        (
            "postgresql://alice:secret@localhost:1/db",
            r"^postgresql://localhost:1/db cannot be opened as an MLflow store",
        ),
        ("sqlite:///{folder}", r"is a folder, not a database: set MLFLOW_TRACKING_URI to sqlite:///"),
    ],
)
def test_an_address_that_cannot_be_used_is_told_without_its_login(
    address: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address.format(folder=tmp_path))
    with pytest.raises(InputError, match=message) as error:
        open_store(tmp_path / "store")
    assert "alice" not in str(error.value)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("name", ["50%20off?", "#1 é", "100%"])
def test_a_store_lies_in_a_folder_of_any_name(name: str, store: Store, tmp_path: Path) -> None:
    (tmp_path / name / "mlruns").mkdir(parents=True)
    shutil.copy(store.root / "mlflow.db", tmp_path / name / "mlruns")
    store = open_store(tmp_path / name / "mlruns")
    assert store.is_local
    with arm(store, store.root / "work" / "a", experiment="anywhere") as tracker:
        tracker.log({"eval/recon_mse": 0.5}, 0)
        tracker.text("mine", "notes.txt")
    assert tracker.unsent == 0
    again = open_store(tmp_path / name / "mlruns")
    assert history(again, tracker.run_id, "eval/recon_mse") == [(0, 0.5)]
    assert [path.read_text() for path in store.artifacts.rglob("notes.txt")] == ["mine"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]
    assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["mlruns"]


def test_a_new_database_is_made_below_a_folder_of_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(mlflow_store, "_first_use", asked.append)
    root = tmp_path / "50%20off?"
    open_store(root)
    assert [mlflow_store._sqlite_path(uri) for uri in asked] == [root / ".mlflow-new.db", root / "mlflow.db"]
    assert sorted(path.name for path in root.iterdir()) == [".lock", "artifacts", "mlflow.db"]


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_path_that_is_too_long_is_told_at_once(
    elsewhere: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path.joinpath(*["d" * 100] * 6)
    deep.mkdir(parents=True)
    if elsewhere:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{deep}/mlflow.db")
    began = time.monotonic()
    with pytest.raises(
        InputError, match=r"/\S*mlflow\S*\.db has \d+ bytes, and SQLite takes paths of 512; name a folder"
    ):
        open_store(tmp_path if elsewhere else deep)
    assert time.monotonic() - began < 10


def test_what_is_sent_again_after_a_kill_is_there_once(store: Store, tmp_path: Path) -> None:
    """A process that is killed between sending something and noting that sends it again when it goes on."""

    def run() -> Tracker:
        with arm(store, tmp_path / "work") as tracker:
            for step in (0, 100):
                tracker.image("recon_grid", np.zeros((4, 4), np.uint8), step)
            tracker.dataset("digits", "a" * 36, rows=3, shape=[1, 2, 2], context="train")
            tracker.model(torch.nn.Linear(4, 2), torch.rand(1, 4))
        return tracker

    run_id = run().run_id
    path = tmp_path / "work" / "run.json"
    noted = json.loads(path.read_text())
    assert len(noted["done"]) == 4
    path.write_text(json.dumps(noted | {"done": noted["done"][:1]}))  # of all but the first picture nothing was noted
    tracker = run()
    assert (tracker.run_id, tracker.unsent, len(tracker._record.done)) == (run_id, 0, 4)
    stored = run_of(store, tracker)
    pictures = [path.name for path in (store.artifacts / run_id / "artifacts" / "images").iterdir()]
    steps = [re.fullmatch(r"recon_grid.step.(\d+).timestamp.*", name)[1] for name in pictures]  # type: ignore[index]
    assert sorted(steps) == ["0", "0", "100", "100"]  # in two sizes
    client = MlflowClient(store.uri)
    [model] = client.search_logged_models([stored.info.experiment_id], f"source_run_id = '{run_id}'")
    assert [output.model_id for output in stored.outputs.model_outputs] == [model.model_id]
    assert model.status == "READY"
    assert len(stored.inputs.dataset_inputs) == 1


def test_a_picture_whose_key_has_a_slash_is_there_once_after_a_kill(store: Store, tmp_path: Path) -> None:
    for _ in range(2):
        with arm(store, tmp_path / "work") as tracker:
            tracker.image("grids/one", np.zeros((4, 4), np.uint8), 0)
        noted = json.loads((tmp_path / "work" / "run.json").read_text())
        (tmp_path / "work" / "run.json").write_text(json.dumps(noted | {"done": []}))
    files = MlflowClient(store.uri).list_artifacts(tracker.run_id, "images")
    assert [file.path.partition("+")[0] for file in files] == ["images/grids~one"] * 2  # in two sizes


def test_hidden_files_in_a_folder_are_not_sent(store: Store, tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    for name in ("headline.png", ".stacked-0123456789abcdef.part", ".DS_Store"):
        (tmp_path / "figures" / name).write_bytes(b"x")
    with arm(store, tmp_path / "work") as tracker:
        tracker.artifact(tmp_path / "figures", "figures")
    files = MlflowClient(store.uri).list_artifacts(tracker.run_id, "figures")
    assert [file.path for file in files] == ["figures/headline.png"]


def test_a_lock_that_is_a_folder_is_told(store: Store, tmp_path: Path) -> None:
    (tmp_path / "work.lock").mkdir()
    with pytest.raises(InputError, match=r"work\.lock cannot be written \(Is a directory\)"), held(tmp_path / "work"):
        pytest.fail("it was held")
    (tmp_path / ".study.lock").mkdir()
    with pytest.raises(InputError, match=r"\.study\.lock cannot be written \(Is a directory\)"), alone(tmp_path):
        pytest.fail("it was held")


def test_the_run_of_a_study_is_used_again(store: Store) -> None:
    for text in ("one", "two"):
        with study_run(store, EXPERIMENT, "demo") as run:
            run.text(text, "report.md")
            run_id = run.run_id
    with study_run(store, EXPERIMENT, "demo") as run:
        assert run.run_id == run_id
    assert {"kind": "study", "study": "demo"}.items() <= run_of(store, run).data.tags.items()
    assert run_of(store, run).data.metrics == {}


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
        with tracker.stage(1, "stage 1", {}) as stage:
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


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="taken"):
        open_store(tmp_path / "taken")


def test_a_database_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is not a database, whatever its name says " * 100)
    with pytest.raises(InputError, match="cannot be opened"):
        open_store(tmp_path)


def test_a_deleted_experiment_is_named(store: Store, tmp_path: Path) -> None:
    client = StoreClient(store, "deleted")
    MlflowClient(store.uri).delete_experiment(client.experiment_id)
    with pytest.raises(InputError, match="'deleted' is deleted"):
        arm(store, tmp_path / "work", experiment="deleted")


def test_mlflow_is_told_to_report_nothing_home() -> None:
    probe = "import stacked.tracking.tracker, os; print(os.environ['MLFLOW_DISABLE_TELEMETRY'])"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    answer = subprocess.run([sys.executable, "-c", probe], env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "true"
