"""A database that is removed in the midst of a study is made anew, and gets everything again."""

from __future__ import annotations

import os
import sqlite3
import warnings
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from stacked.doctor import unsent
from stacked.doctor.__main__ import main as doctor
from stacked.tracking.backend.circuit_breaker import circuit_breaker_for
from stacked.tracking.backend.store import Store, open_store
from stacked.util.errors import InputError
from tests.helpers.outages import is_whole, later, log
from tests.helpers.tracked import EXPERIMENT, arm, children, run_of, train

from mlflow import MlflowClient  # isort: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")


def runs(store: Store) -> list[tuple[str, str]]:
    client = MlflowClient(store.uri)
    found = client.search_runs([each.experiment_id for each in client.search_experiments()])
    return sorted((run.info.run_name, run.info.status) for run in found)


def made_now(store: Store) -> None:
    """Tests copy one database: let this one be as young as it is."""
    with closing(sqlite3.connect(store.root / "mlflow.db")) as database, database:
        database.execute("UPDATE experiments SET creation_time = unixepoch() * 1000 + 2000 WHERE experiment_id = 0")


def files(store: Store, run_id: str | None) -> list[str]:
    client = MlflowClient(store.uri)
    found = [file for folder in (None, "images") for file in client.list_artifacts(run_id or "", folder)]
    return sorted(file.path.partition("+")[0] for file in found if not file.is_dir)


def test_all_is_sent_again_to_a_new_database(store: Store, tmp_path: Path) -> None:
    with arm(store, store.root / "work" / "a") as tracker:
        tracker.dataset("digits", "a" * 64, rows=10, shape=(1, 8, 8), context="train")
        tracker.text("{}", "spec.json")
        tracker.image("grid", np.zeros((8, 8), np.uint8), 3)
        tracker.model(torch.nn.Flatten(), torch.zeros(2, 1, 2, 2), 0)
        with tracker.phase(1, "stage 1", {}) as stage:
            stage.log({"stage/loss": 1.0}, 0)
        log(tracker, range(100))
        before = tracker.run_id
        (store.root / "mlflow.db").unlink()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            log(tracker, range(100, 300))
            tracker.image("grid", np.ones((8, 8), np.uint8), 4)
    said = [str(each.message) for each in told if each.category is RuntimeWarning]
    assert len(said) == 1
    assert "mlflow.db was removed while runs were recorded in it: it is created again" in said[0]
    assert tracker.run_id != before
    assert is_whole(store, tracker, range(300))
    assert runs(store) == [("layerwise/s0", "FINISHED"), ("layerwise/s0 stage 1", "FINISHED")]
    assert len(children(store, tracker)) == 1
    stored = run_of(store, tracker)
    assert stored.data.params == {"lr": "0.1"}
    assert stored.data.tags["mlflow.loggedImages"] == "True"
    assert len(stored.inputs.dataset_inputs) == 1
    assert files(store, tracker.run_id) == ["images/grid"] * 4 + ["spec.json"]
    [model] = MlflowClient(store.uri).search_logged_models([stored.info.experiment_id])
    assert (model.status, model.source_run_id) == ("READY", tracker.run_id)
    assert sorted(path.name for path in store.root.iterdir()) == [".lock", "artifacts", "mlflow.db", "work"]


def test_a_database_that_another_process_made_anew_is_sent_all(store: Store, tmp_path: Path) -> None:
    other = open_store(tmp_path / "other")
    with arm(store, store.root / "work" / "a") as tracker:
        with tracker.phase(1, "stage 1", {}) as stage:
            stage.log({"stage/loss": 1.0}, 0)
        log(tracker, range(100))
        os.replace(other.root / "mlflow.db", store.root / "mlflow.db")
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            log(tracker, range(100, 300))
        later(store)
    assert len([each for each in told if each.category is RuntimeWarning]) <= 1
    assert is_whole(store, tracker, range(300))
    assert runs(store) == [("layerwise/s0", "FINISHED"), ("layerwise/s0 stage 1", "FINISHED")]


def test_runs_that_had_ended_are_sent_by_the_doctor(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("layerwise/s0", "joint/s0"):
        tracker = arm(store, store.root / "work" / name[0], name)
        tracker.image("grid", np.zeros((8, 8), np.uint8), 3)
        train(tracker)
    client = MlflowClient(store.uri)
    client.delete_run(tracker.run_id or "")  # which is not to come back while there is a database
    assert not list(unsent.find(store))
    (store.root / "mlflow.db").unlink()
    assert doctor(["unsent", "--store", str(store.root), "--dry-run"]) == 2
    assert "without --dry-run it is created again" in capsys.readouterr().err
    open_store(store.root)
    made_now(store)
    assert doctor(["--store", str(store.root)]) == 0
    assert capsys.readouterr().out.count("was removed, and the new one lacks the run. It is sent, except for") == 2
    assert runs(store) == sorted(
        (f"{name}{part}", "FINISHED") for name in ("layerwise/s0", "joint/s0") for part in ("", " stage 1")
    )
    assert doctor(["--store", str(store.root)]) == 0
    assert "Nothing is wrong" in capsys.readouterr().out
    assert {
        file for each in client.search_runs(["1"], "tags.kind = 'arm'") for file in files(store, each.info.run_id)
    } == {"images/grid"}


def test_a_database_that_cannot_be_made_is_an_outage(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with arm(store, store.root / "work" / "a") as tracker:
        log(tracker, range(100))
        (store.root / "mlflow.db").unlink()
        with monkeypatch.context() as patch:
            patch.setattr("stacked.tracking.backend.removed_database.make_database", fails)
            with pytest.warns(RuntimeWarning, match="No space left on device.*training goes on"):
                log(tracker, range(100, 300))
        later(store)
        with pytest.warns(RuntimeWarning, match="it is created again"):
            tracker.flush()
    assert is_whole(store, tracker, range(300))


def test_a_store_that_is_removed_whole_stays_so(store: Store, tmp_path: Path) -> None:
    with arm(store, tmp_path / "work") as tracker:
        log(tracker, range(100))
        store.root.rename(tmp_path / "away")
        with pytest.warns(RuntimeWarning, match="training goes on"):
            log(tracker, range(100, 300))
        assert not store.root.exists()
        (tmp_path / "away").rename(store.root)
        later(store)
    assert is_whole(store, tracker, range(300))


def test_an_experiment_that_is_deleted_in_the_midst_is_an_outage(store: Store) -> None:
    """Whoever begins a run is told at once."""
    client = MlflowClient(store.uri)
    with arm(store, store.root / "work" / "a") as tracker:
        log(tracker, range(100))
        experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
        client.delete_experiment(experiment)
        tracker._client.forget(None)
        tracker._found = False
        with pytest.warns(RuntimeWarning, match="training goes on"):
            log(tracker, range(100, 300))
        circuit_breaker_for.cache_clear()
        with pytest.raises(InputError, match=f"restore it with 'mlflow experiments restore -x {experiment}'"):
            arm(store, store.root / "work" / "b")
        client.restore_experiment(experiment)
    assert is_whole(store, tracker, range(300))
