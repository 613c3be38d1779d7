"""Where a store may be, and what is said of one that cannot be used."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stacked.tracking.backend import store as mlflow_store
from stacked.tracking.backend.client import StoreClient
from stacked.tracking.tracker import Store, open_store
from stacked.tracking.work_folder import held
from stacked.util.errors import InputError
from studies.record.lock import locked_record
from tests.helpers.tracked import arm, history

from mlflow import MlflowClient  # isort: skip


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


def test_a_lock_that_is_a_folder_is_told(store: Store, tmp_path: Path) -> None:
    (tmp_path / "work.lock").mkdir()
    with pytest.raises(InputError, match=r"work\.lock cannot be written \(Is a directory\)"), held(tmp_path / "work"):
        pytest.fail("it was held")
    (tmp_path / ".study.lock").mkdir()
    with (
        pytest.raises(InputError, match=r"\.study\.lock cannot be written \(Is a directory\)"),
        locked_record(tmp_path),
    ):
        pytest.fail("it was held")


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
