"""A store in PostgreSQL, written directly and by an MLflow server, with outages of the database: no point is lost."""

from __future__ import annotations

import multiprocessing
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from stacked.doctor import unsent
from stacked.doctor.__main__ import main as doctor
from stacked.tracking.backend.circuit_breaker import MOST_LOST, circuit_breaker_for
from stacked.tracking.backend.workarounds import forget_connections
from stacked.tracking.metric_log import read_entries
from stacked.tracking.tracker import open_store
from stacked.util.errors import InputError
from stacked.viewing.server import serve, stop
from tests.helpers.outages import is_whole, later, log
from tests.helpers.postgresql import PASSWORD, USER, Cluster, cluster, missing
from tests.helpers.tracked import arm, free_port, run_of
from tests.helpers.writers import BACK, PICTURES, STEPS, points, stage_points, write

from mlflow import MlflowClient  # isort: skip

psycopg2 = pytest.importorskip("psycopg2", reason="a store in PostgreSQL needs the package psycopg2-binary")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]
#: The runs of each of two processes.
WRITERS = ((0, 1, 2, 3), (4, 5, 6, 7))
#: The points of an experiment, with the names of their runs.
ROWS = """
SELECT runs.name, key, step, value, timestamp FROM metrics JOIN runs USING (run_uuid) JOIN experiments USING (experiment_id)
WHERE experiments.name = %s
"""
#: Seconds for what takes a few on an idle machine.
PATIENCE = 500.0


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    with cluster() as made:
        yield made


@pytest.fixture(scope="module")
def shared(server: Cluster) -> str:
    return server.create("runs")


@pytest.fixture
def database(shared: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address, with a password, of the database in which runs are recorded."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", shared)
    return shared


def rows(uri: str, query: str, *values: str) -> list[tuple]:
    with closing(psycopg2.connect(uri)) as connection, connection.cursor() as cursor:
        cursor.execute(query, values)
        return sorted(cursor.fetchall())


def wait_for_points(uri: str, experiment: str, number: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if len(rows(uri, ROWS, experiment)) >= number:
            return
        time.sleep(0.05)
    pytest.fail(f"{number} points did not arrive")


def noted(root: Path) -> list[tuple]:
    """Return the points that the writers have noted, after comparing them with those that they were to note."""
    found = []
    for number in (number for numbers in WRITERS for number in numbers):
        folder, name = root / "work" / f"run-{number}", f"joint/s{number}"
        for path, of in ((folder, points), (folder / "stages" / "1", stage_points)):
            entries = read_entries(path / "points.jsonl")
            assert [(each.step, each.metrics) for each in entries] == [(s, of(number, s)) for s in range(STEPS)]
            run = name if of is points else f"{name} stage 1"
            found += [
                (run, key, each.step, value, each.time) for each in entries for key, value in each.metrics.items()
            ]
    return sorted(found)


@pytest.mark.parametrize("served", [False, True], ids=["directly", "by an MLflow server"])
def test_eight_writers_lose_no_point_in_an_outage_of_the_database(
    served: bool, server: Cluster, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, front, experiment = free_port(), None, "served" if served else "direct"
    direct = open_store(tmp_path)
    forget_connections(direct.uri)  # which the writers would share
    if served:
        front = serve(direct, port, PATIENCE)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    try:
        with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as processes:
            written: list[Future[list[str]]] = [
                processes.submit(write, tmp_path, experiment, numbers) for numbers in WRITERS
            ]
            wait_for_points(database, experiment, 500)
            server.stop()
            time.sleep(2)
            server.start()
            (tmp_path / BACK).touch()
            said = [future.result(PATIENCE) for future in written]
        assert all(any("training goes on" in each for each in texts) for texts in said)
        assert not any(PASSWORD in each for texts in said for each in texts)

        store = open_store(tmp_path)
        for finding in list(unsent.find(store)):  # what a busy machine had no time for at the end of a run
            assert finding.repair is not None
            finding.repair()
        stored = rows(database, ROWS, experiment)
        assert stored == noted(tmp_path)
        assert len(stored) == 8 * 3 * STEPS

        client = MlflowClient(store.uri)
        place = client.get_experiment_by_name(experiment).experiment_id
        runs = client.search_runs([place], "tags.kind = 'arm'")
        assert sorted(run.info.run_name for run in runs) == [f"joint/s{number}" for number in range(8)]
        assert {run.info.status for run in runs} == {"FINISHED"}
        assert {run.info.artifact_uri.partition(":")[0] for run in runs} == {"mlflow-artifacts" if served else "file"}
        for run in runs:
            assert "notes.txt" in [file.path for file in client.list_artifacts(run.info.run_id)]
            files = [file.path for file in client.list_artifacts(run.info.run_id, "images")]
            assert len([path for path in files if path.endswith(".png")]) == len(PICTURES)
    finally:
        if front:
            stop(front)


def test_a_database_that_hangs_costs_seconds(server: Cluster, database: str, tmp_path: Path) -> None:
    store = open_store(tmp_path)
    tracker = arm(store, tmp_path / "work" / "a", experiment="hanging")
    log(tracker, range(100))
    assert tracker.unsent == 0
    server.freeze()
    try:
        start = time.monotonic()
        with pytest.warns(RuntimeWarning, match=r"no whole answer within \d+.*training goes on") as caught:  # noqa: PT031
            log(tracker, range(100, 300))
            other = arm(store, tmp_path / "work" / "b", "joint/s0", "hanging")
            log(other, range(200))
        assert 9 < time.monotonic() - start < MOST_LOST
        assert len([each for each in caught if each.category is RuntimeWarning]) == 1
        assert (tracker.unsent, other.unsent, other.run_id) == (200, 200, None)
    finally:
        server.thaw()
    later(store)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with tracker, other:
            log(tracker, range(300, 310))
    assert is_whole(store, tracker, range(310))
    assert is_whole(store, other, range(200))


def test_a_worker_that_starts_in_an_outage_trains_and_the_doctor_sends_its_run(
    server: Cluster, database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    open_store(tmp_path)
    server.stop()
    try:
        with pytest.raises(InputError, match=r"cannot be opened as an MLflow store .*onnection refused") as refused:
            open_store(tmp_path)
        assert PASSWORD not in str(refused.value)
        assert USER not in str(refused.value)
        circuit_breaker_for.cache_clear()  # as a new process has it
        with pytest.warns(RuntimeWarning, match=r"onnection refused.*training goes on") as caught:  # noqa: PT031
            store = open_store(tmp_path, must_answer=False)
            with arm(store, tmp_path / "work" / "a", experiment="worker") as tracker:
                log(tracker, range(50))
        assert len(caught) == 1
    finally:
        server.start()
    circuit_breaker_for.cache_clear()
    assert doctor(["--store", str(tmp_path), "unsent"]) == 0
    assert (
        "MLflow lacks 1 runs or their tags, 50 metric entries, 1 ends of runs. It is sent." in capsys.readouterr().out
    )
    client = MlflowClient(store.uri)
    [run] = client.search_runs([client.get_experiment_by_name("worker").experiment_id])
    tracker._record.run_id = run.info.run_id
    assert is_whole(store, tracker, range(50))
    assert run_of(store, tracker).info.status == "FINISHED"
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in kept if PASSWORD.encode() in path.read_bytes()]


def test_a_wrong_password_and_a_missing_database_are_told_at_once(
    server: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for uri, reason in (
        (server.uri("postgres").replace(PASSWORD, "wrong-secret"), "password authentication failed"),
        (server.uri("missing"), 'database "missing" does not exist'),
    ):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        start = time.monotonic()
        with pytest.raises(InputError, match=f"cannot be opened as an MLflow store .*{reason}") as error:
            open_store(tmp_path)
        assert time.monotonic() - start < 10
        assert "secret" not in str(error.value)
        assert PASSWORD not in str(error.value)


def test_two_processes_create_the_tables_of_one_database(
    server: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = server.create("new")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as processes:
        stores = list(processes.map(open_store, (tmp_path / "a", tmp_path / "b"), timeout=PATIENCE))
    assert [store.name for store in stores] == [f"postgresql://{database.rpartition('@')[2]}"] * 2
    assert rows(database, "SELECT name FROM experiments") == [("Default",)]


def test_files_that_another_folder_holds_are_not_written_here(database: str, tmp_path: Path) -> None:
    with arm(open_store(tmp_path / "a"), tmp_path / "a" / "work" / "run") as tracker:
        tracker.text("mine", "notes.txt")
    assert [path.read_text() for path in (tmp_path / "a" / "artifacts").rglob("notes.txt")] == ["mine"]
    with pytest.raises(
        InputError, match=r"/a/artifacts', not in .*/b/artifacts: use the folder of that store, or give"
    ):
        arm(open_store(tmp_path / "b"), tmp_path / "b" / "work" / "run")
