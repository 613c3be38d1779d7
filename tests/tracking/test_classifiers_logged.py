"""What MLflow has of classifiers: a child run with a curve, a model with its own metrics, and the file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stacked.runs.run import Result, run
from stacked.spec import Classification
from stacked.tracking.tracker import Store, Tracker, open_store
from tests.helpers.runs import SPEC
from tests.helpers.splits import toy_splits
from tests.helpers.tracked import children, history, run_of

from mlflow import MlflowClient  # isort: skip

CONFIG = Classification(labels=(20, None), lrs=(1e-3, 1e-2), updates=6, checks=3, epochs=0.1)
TAGS = {"kind": "arm", "arm": "greedy+finetune", "seed": 0}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def logged(home: Path) -> tuple[Store, Tracker, Result]:
    store = open_store(home / "store")
    name, work = "greedy+finetune/s0", home / "work"
    with Tracker(store, "classifiers", name=name, work=work, tags=TAGS, params={"lr": 1}) as tracker:
        done = run(replace(SPEC, classification=CONFIG), toy_splits(150), tracker=tracker, work=work)
    return store, tracker, done


def test_each_label_budget_is_a_child_run_with_a_curve_for_each_rate(logged: tuple[Store, Tracker, Result]) -> None:
    store, tracker, done = logged
    found = {child.info.run_name: child for child in children(store, tracker)}
    for labels in ("20", "all"):
        child = found[f"greedy+finetune/s0 classifier, {labels} labels"]
        assert child.data.params["labels"] == labels
        assert child.data.params["head"] == "linear"
        best = 0.0
        for lr in ("0.001", "0.01"):
            points = history(store, child.info.run_id, f"classifier/accuracy/lr {lr}")
            assert [step for step, _ in points] == [2, 4, 6]
            best = max(best, *(value for _, value in points))
        assert best == pytest.approx(done.row[f"final/classifier_valid_acc_{labels}"])


def test_models_are_named_and_can_be_ranked_by_their_own_metrics(logged: tuple[Store, Tracker, Result]) -> None:
    store, tracker, done = logged
    client, experiment = MlflowClient(store.uri), run_of(store, tracker).info.experiment_id
    models = {model.name: model for model in client.search_logged_models([experiment])}
    of = "greedy+finetune-s0"
    assert set(models) == {f"encoder-{of}", f"classifier-20-{of}", f"classifier-all-{of}"}
    for labels in ("20", "all"):
        metrics = {metric.key: metric.value for metric in models[f"classifier-{labels}-{of}"].metrics}
        assert set(metrics) == {
            name for name in done.row if name.startswith("final/classifier_") and name.endswith(labels)
        }
        assert metrics[f"final/classifier_acc_{labels}"] == done.row[f"final/classifier_acc_{labels}"]
    ranking = [{"field_name": "metrics.final/classifier_acc_20", "ascending": False}]
    assert client.search_logged_models([experiment], order_by=ranking)[0].name in {
        f"encoder-{of}",
        f"classifier-20-{of}",
    }


def test_the_logged_model_gives_the_logits_of_the_classifier(logged: tuple[Store, Tracker, Result]) -> None:
    import mlflow

    store, tracker, done = logged
    client, experiment = MlflowClient(store.uri), run_of(store, tracker).info.experiment_id
    [model] = [m for m in client.search_logged_models([experiment]) if m.name.startswith("classifier-20-")]
    mlflow.set_tracking_uri(store.uri)
    loaded = mlflow.pytorch.load_model(f"models:/{model.model_id}")
    images = toy_splits(150).test.inputs[:3] / 255
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), done.classifiers["20"].to("cpu")(images))


def test_the_files_of_classifiers_are_artifacts(logged: tuple[Store, Tracker, Result], home: Path) -> None:
    store, tracker, _ = logged
    assert tracker.run_id is not None
    folder = store.artifacts / tracker.run_id / "artifacts" / "classifiers"
    for labels in ("20", "all"):
        name = f"classifier-{labels}.safetensors"
        assert (folder / name).read_bytes() == (home / "work" / name).read_bytes()
