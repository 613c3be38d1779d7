"""Pictures, files, datasets and encoders of a run, each in the store once."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from stacked.cost.disk import AS_TEXT
from stacked.tracking.backend import client
from stacked.tracking.tracker import Store, Tracker
from stacked.util.errors import InputError
from tests.helpers.tracked import arm, run_of

from mlflow import MlflowClient  # isort: skip


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
        tracker.model(encoder, batch[:1], 7)
        tracker.model(encoder, batch[:1], 7)
    assert encoder.training
    assert "MLFLOW_TRACKING_URI" not in os.environ
    run = run_of(store, tracker)
    [output] = run.outputs.model_outputs
    logged = MlflowClient(store.uri).get_logged_model(output.model_id)
    assert (logged.name, logged.experiment_id) == ("encoder-layerwise-s0", run.info.experiment_id)
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


def test_a_model_has_the_last_metrics_the_parameters_and_the_dataset_of_its_run(store: Store, tmp_path: Path) -> None:
    """It is the network after training: MLflow shows the metrics of the step at which a model is logged, of step 0 by default."""
    with arm(store, tmp_path / "work", "greedy+finetune/s3") as tracker:
        tracker.dataset("mnist", "a" * 64, rows=50_000, shape=(1, 28, 28), context="train")
        for step, error in ((0, 0.243), (40, 0.02), (64, 0.0064)):
            tracker.log({"eval/recon_mse": error, "progress/gflop": step / 10}, step)
        tracker.log({"eval/probe_acc": 0.9}, 40)
        tracker.log({"final/recon_mse": 0.007, "final/recon_fvu": float("nan")}, 64)
        for _ in range(2):
            tracker.model(torch.nn.Flatten(), torch.zeros(2, 1, 2, 2), 64)
    run = run_of(store, tracker)
    [output] = run.outputs.model_outputs
    model = MlflowClient(store.uri).get_logged_model(output.model_id)
    assert (model.name, output.step) == ("encoder-greedy+finetune-s3", 64)
    assert model.params == run.data.params == {"lr": "0.1"}
    assert {metric.key: (metric.step, metric.value) for metric in model.metrics} == {
        "eval/recon_mse": (64, 0.0064),
        "eval/probe_acc": (40, 0.9),
        "progress/gflop": (64, 6.4),
        "final/recon_mse": (64, 0.007),
    }
    assert {(metric.dataset_name, metric.dataset_digest) for metric in model.metrics} == {("mnist", "a" * 36)}
    assert {metric.run_id for metric in model.metrics} == {tracker.run_id}
    history = MlflowClient(store.uri).get_metric_history(tracker.run_id, "eval/recon_mse")
    assert [(metric.step, metric.value) for metric in history] == [(0, 0.243), (40, 0.02), (64, 0.0064)]


def test_a_model_is_named_without_what_mlflow_refuses(store: Store, tmp_path: Path) -> None:
    tags = {"kind": "arm", "arm": "lr 0.1: 50 %", "seed": 0}
    with Tracker(store, "odd", name="lr 0.1: 50 %/s0", work=tmp_path / "odd", tags=tags, params={}) as tracker:
        tracker.model(torch.nn.Flatten(), torch.zeros(2, 1, 2, 2), 0)
    [output] = run_of(store, tracker).outputs.model_outputs
    assert MlflowClient(store.uri).get_logged_model(output.model_id).name == "encoder-lr 0-1- 50 -s0"


def test_a_model_waits_for_space_in_the_temporary_folder(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk torch's writer would end the process; so an export that does not fit is an outage."""
    with arm(store, tmp_path / "work") as tracker:
        monkeypatch.setattr(client.shutil, "disk_usage", lambda path: SimpleNamespace(free=2**20))
        with pytest.warns(RuntimeWarning, match="model to log needs up to"):
            tracker.model(torch.nn.Flatten(), torch.zeros(2, 1, 2, 2), 0)
        monkeypatch.undo()
        [output] = run_of(store, tracker).outputs.model_outputs
        assert MlflowClient(store.uri).get_logged_model(output.model_id).status == "PENDING"
    assert run_of(store, tracker).info.status == "FINISHED"
    assert MlflowClient(store.uri).get_logged_model(output.model_id).status == "READY"


def test_an_example_is_counted_as_the_text_that_it_becomes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the forecast of disk space counts it, whatever the bytes of its values."""
    assert client.AS_TEXT == AS_TEXT
    needed = 2**22 + 2 * AS_TEXT * 300
    for dtype in (np.uint8, np.float32, np.float64):
        example = np.zeros((3, 100), dtype)
        monkeypatch.setattr(client.shutil, "disk_usage", lambda path: SimpleNamespace(free=needed))
        client.check_space(tmp_path, torch.nn.Flatten(), example)
        monkeypatch.setattr(client.shutil, "disk_usage", lambda path: SimpleNamespace(free=needed - 1))
        with pytest.raises(OSError, match="a model to log needs up to"):
            client.check_space(tmp_path, torch.nn.Flatten(), example)


def test_what_is_sent_again_after_a_kill_is_there_once(store: Store, tmp_path: Path) -> None:
    """A process that is killed between sending something and noting that sends it again when it goes on."""

    def run() -> Tracker:
        with arm(store, tmp_path / "work") as tracker:
            for step in (0, 100):
                tracker.image("recon_grid", np.zeros((4, 4), np.uint8), step)
            tracker.dataset("digits", "a" * 36, rows=3, shape=[1, 2, 2], context="train")
            tracker.model(torch.nn.Linear(4, 2), torch.rand(1, 4), 100)
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
