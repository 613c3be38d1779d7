"""A database that somebody else made: the addresses of files in it lead to no file of this machine."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from stacked.doctor import relocate
from stacked.doctor.__main__ import main as doctor_command
from stacked.tracking.backend.addresses import LOCATIONS, check_addresses
from stacked.tracking.backend.client import StoreClient
from stacked.tracking.backend.model_description import ModelDescription
from stacked.tracking.backend.registry import Registry
from stacked.tracking.backend.store import Store, open_store
from stacked.tracking.backend.workarounds import forget_artifact_repository
from stacked.tracking.pending_uploads import PendingUpload, store_upload
from stacked.util.errors import InputError
from stacked.viewing.server import serve
from tests.helpers.tracked import EXPERIMENT, arm, free_port

from mlflow import MlflowClient  # isort: skip

PLAIN = "kept.txt"
WHERE = {"experiments": "experiment_id != 0"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str]:
    """A store with a run that has ended, a model of it that was begun, and a version of a registered model."""
    store = open_store(tmp_path_factory.mktemp("made") / "store")
    with arm(store, store.root / "work" / "a") as tracker:
        tracker.text("x", PLAIN)
    run_id, client = str(tracker.run_id), MlflowClient(store.uri)
    experiment = client.get_run(run_id).info.experiment_id
    model = client.create_logged_model(experiment, name="encoder", source_run_id=run_id)
    client.create_registered_model("best")
    client.create_model_version("best", model.artifact_location, run_id)
    with closing(sqlite3.connect(store.root / "mlflow.db")) as database, database:
        database.execute(
            "INSERT INTO trace_info (request_id, experiment_id, timestamp_ms, status) VALUES ('tr-1', ?, 0, 'OK')",
            (experiment,),
        )
        for key in ("mlflow.artifactLocation", "mlflow.trace.archiveLocation"):
            place = f"{store.artifacts.as_uri()}/traces/tr-{'0' * 32}/artifacts"
            database.execute("INSERT INTO trace_tags VALUES (?, ?, 'tr-1')", (key, place))
        database.execute("INSERT INTO trace_tags VALUES ('note', '/etc/passwd', 'tr-1')")
    return store, run_id


@pytest.fixture
def run(made: tuple[Store, str]) -> Iterator[tuple[Store, str]]:
    """That store, whose database is as it was when the test ends."""
    path = made[0].root / "mlflow.db"
    with closing(sqlite3.connect(path)) as database, closing(sqlite3.connect(":memory:")) as kept:
        database.backup(kept)
        yield made
        forget_artifact_repository(made[1])
        kept.backup(database)


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "secret").write_text("s")
    return tmp_path / "victim"


def is_whole(victim: Path) -> bool:
    return [path.name for path in victim.rglob("*")] == ["secret"] and (victim / "secret").read_text() == "s"


def give(store: Store, table: str, column: str, address: str | bytes | None) -> None:
    with closing(sqlite3.connect(store.root / "mlflow.db")) as database, database:
        database.execute(f"UPDATE {table} SET {column} = ? WHERE {WHERE.get(table, '1')}", (address,))


def leading_to(victim: Path, store: Store) -> dict[str, str | bytes | None]:
    link = store.artifacts / victim.parent.name
    link.symlink_to(victim)
    around = "/".join([".."] * len(store.artifacts.parts))
    return {
        "address": victim.as_uri(),
        "path": str(victim),
        "upwards": f"{store.artifacts.as_uri()}/{around}{victim}",
        "escaped": f"{store.artifacts.as_uri()}/{around.replace('.', '%2e')}{victim}",
        "link": link.as_uri(),
        "relative": "victim",
        "bytes": bytes(victim),
        "none": None,
        "empty": "",
        "odd": "file://[",
        "another machine": "ftp://127.0.0.1:9/x",
        "a server": "mlflow-artifacts://127.0.0.1:9/x",
    }


def uploads(client: StoreClient, run_id: str, file: Path) -> dict[str, object]:
    described = ModelDescription("encoder", 0, {}, [], None)
    example = np.zeros((2, 4), np.float32)
    return {
        "text": lambda: client.log_text(run_id, "t", "t.txt"),
        "file": lambda: client.log_file(run_id, str(file), None),
        "picture": lambda: client.log_image(run_id, np.zeros((4, 4), np.uint8), "k", 0, 0),
        "model": lambda: client.log_model(run_id, torch.nn.Linear(4, 2).eval(), example, described),
        "version": lambda: Registry(client.store, EXPERIMENT).register(
            SimpleNamespace(  # type: ignore[arg-type]
                artifact_location=model_of(client, run_id).artifact_location,
                source_run_id=run_id,
                model_id=model_of(client, run_id).model_id,
            ),
            "best",
            {},
        ),
    }


def model_of(client: StoreClient, run_id: str):
    found = client.find_model(run_id, "encoder")
    assert found is not None
    return found


def test_nothing_is_uploaded_to_an_address_that_leads_out(
    run: tuple[Store, str], victim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, run_id = run
    monkeypatch.chdir(tmp_path)  # where MLflow would look for a relative path
    (tmp_path / "x.txt").write_text("x")
    client = StoreClient(store, EXPERIMENT)
    addresses = leading_to(victim, store)
    try:
        for name, address in addresses.items():
            give(store, "runs", "artifact_uri", address)
            give(store, "logged_models", "artifact_location", "" if address is None else address)
            for what, upload in uploads(client, run_id, tmp_path / "x.txt").items():
                if what in ("model", "version") and name in ("bytes", "none"):
                    continue  # MLflow has no such model
                with pytest.raises(InputError, match="is used"):
                    upload()  # type: ignore[operator]
                assert is_whole(victim), (name, what)
    finally:
        (store.artifacts / tmp_path.name).unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["victim", "x.txt"]


def test_the_doctor_writes_nothing_elsewhere(
    run: tuple[Store, str], victim: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, run_id = run
    work = store.root / "work" / "a"
    (work / "payload.desktop").write_text("evil")
    store_upload(work, PendingUpload("log_file", {"path": "payload.desktop", "folder": None}))
    give(store, "runs", "artifact_uri", victim.as_uri())
    assert doctor_command(["--store", str(store.root)]) == 1
    out = capsys.readouterr().out
    assert "NOT REPAIRED" in out
    assert f"relocate: 1 addresses of files in runs.artifact_uri lead out of {store.artifacts}" in out
    assert "2 found, 0 repaired." in out
    assert is_whole(victim)
    (store.artifacts / run_id / "artifacts" / "out").symlink_to(victim)  # of a run that is not looked up again
    try:
        give(store, "runs", "artifact_uri", f"{store.artifacts.as_uri()}/{run_id}/artifacts")
        assert doctor_command(["--store", str(store.root), "unsent"]) == 1
        assert "out is a link that leads out of" in capsys.readouterr().out
    finally:
        (store.artifacts / run_id / "artifacts" / "out").unlink()
    assert doctor_command(["--store", str(store.root)]) == 0
    assert (store.artifacts / run_id / "artifacts" / "payload.desktop").read_text() == "evil"


def test_no_address_that_leads_out_is_served_and_each_is_found(run: tuple[Store, str], victim: Path) -> None:
    store, _ = run
    check_addresses(store)
    assert list(relocate.find(store)) == []
    addresses = leading_to(victim, store)
    (store.artifacts / victim.parent.name).unlink()
    del addresses["link"], addresses["none"], addresses["empty"]
    with closing(sqlite3.connect(store.root / "mlflow.db")) as database:
        tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        filled = [each for each in LOCATIONS if database.execute(f"SELECT count(*) FROM {each[0]}").fetchone()[0]]
        assert {table for table, _, _ in LOCATIONS} <= set(tables)
        for table, column, where in filled:
            for name, address in addresses.items():
                before = database.execute(f"SELECT rowid, {column} FROM {table}").fetchall()
                with database:
                    database.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (address,))
                for check in (check_addresses, lambda each: serve(each, free_port(), timeout=0)):
                    with pytest.raises(InputError, match=rf"in {table}\.{column}"):
                        check(store)
                [found] = relocate.find(store)
                assert found.repair is None, name
                assert f"{table}.{column} lead out of" in found.line
                with database:
                    database.executemany(
                        f"UPDATE {table} SET {column} = ? WHERE rowid = ?", [row[::-1] for row in before]
                    )
    check_addresses(store)


@pytest.mark.parametrize("address", ["mlflow-artifacts:/2/ab/artifacts", "/{0}/mlruns", "models:/m-1", ""])
def test_addresses_of_mlflow_itself_are_served(run: tuple[Store, str], address: str) -> None:
    store, _ = run
    give(store, "model_versions", "source", address.replace("/{0}", str(store.artifacts)))
    check_addresses(store)
    give(store, "model_versions", "source", f"{address or 'runs:'}/../x")
    if not address.startswith("/"):
        with pytest.raises(InputError, match="is used"):
            check_addresses(store)


def test_a_moved_store_is_served_once_it_is_corrected(run: tuple[Store, str]) -> None:
    store, run_id = run
    former = "file:///former/artifacts"
    with closing(sqlite3.connect(store.root / "mlflow.db")) as database, database:
        for table, column, where in LOCATIONS:
            database.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?) WHERE {where}",
                (store.artifacts.as_uri(), former),
            )
    with pytest.raises(InputError, match=r"python -m stacked\.doctor relocate"):
        serve(store, free_port(), timeout=0)
    with pytest.raises(InputError, match=r"python -m stacked\.doctor relocate"):
        StoreClient(store, EXPERIMENT).log_text(run_id, "t", "t.txt")
    assert doctor_command(["--store", str(store.root)]) == 0
    check_addresses(store)
    StoreClient(store, EXPERIMENT).log_text(run_id, "t", "t.txt")
    assert (store.artifacts / run_id / "artifacts" / "t.txt").read_text() == "t"


@pytest.mark.parametrize(
    "rule",
    [
        "CREATE TRIGGER moves AFTER INSERT ON tags BEGIN UPDATE runs SET artifact_uri = '/x'; END",
        "CREATE VIEW moves AS SELECT * FROM runs",
    ],
)
def test_a_database_that_changes_itself_is_not_opened(run: tuple[Store, str], rule: str) -> None:
    store, _ = run
    with closing(sqlite3.connect(store.root / "mlflow.db")) as database, database:
        database.execute(rule)
    with pytest.raises(InputError, match=r"mlflow\.db has the (trigger|view) 'moves', which MLflow does not make"):
        open_store(store.root)
