"""MLflow in trouble: training goes on, hardly slower, and nothing that was noted is lost."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sqlite3
import time
import warnings
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from stacked.tracking.backend.circuit_breaker import (
    ATTEMPT_SECONDS,
    MOST_LOST,
    WITHIN,
    CircuitBreaker,
    circuit_breaker_for,
)
from stacked.tracking.backend.client import StoreClient
from stacked.tracking.backend.store import Store, open_store
from stacked.tracking.run_record import read_record
from stacked.tracking.uploader import Uploader
from stacked.util.errors import InputError, Interrupted
from stacked.viewing.server import serve, stop
from stacked.viewing.views import save_views
from studies.framework.main import main
from studies.pretraining.layerwise import STUDY
from studies.statistics.rows import load_rows
from tests.helpers.outages import is_whole, later, log
from tests.helpers.tracked import EXPERIMENT, arm, free_port, history, run_of

from mlflow import MlflowClient  # isort: skip
from sqlalchemy.exc import SQLAlchemyError  # isort: skip


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(tmp_path_factory.mktemp("store"))


@pytest.mark.slow
def test_a_server_that_hangs_or_is_killed_costs_seconds_and_gets_everything_when_it_is_back(
    local: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    store = open_store(tmp_path / "away")
    server = serve(local, port)
    try:
        tracker = arm(store, tmp_path / "first", experiment="trouble")
        log(tracker, range(100))
        assert tracker.unsent == 0

        os.killpg(server.pid, signal.SIGSTOP)
        start = time.monotonic()
        with pytest.warns(RuntimeWarning, match="training goes on") as caught:  # noqa: PT031
            log(tracker, range(100, 400))
            with arm(store, tmp_path / "second", "joint/s0", experiment="trouble") as other:
                log(other, range(300))
        assert 9 < time.monotonic() - start < MOST_LOST
        assert len([each for each in caught if each.category is RuntimeWarning]) == 1
        assert (tracker.unsent, other.unsent, other.run_id) == (300, 300, None)
        os.killpg(server.pid, signal.SIGCONT)
        later(store)
        assert tracker.flush()
        assert is_whole(store, tracker, range(400))

        stop(server)
        later(store)
        start = time.monotonic()
        log(tracker, range(400, 700))
        assert time.monotonic() - start < 5
        assert tracker.unsent == 300
        server = serve(local, port)
        later(store)
        with tracker:
            log(tracker, range(700, 710))
        with arm(store, tmp_path / "second", "joint/s0", experiment="trouble") as other:
            pass
        assert is_whole(store, tracker, range(710))
        assert is_whole(store, other, range(300))
        experiment = MlflowClient(store.uri).get_experiment_by_name("trouble")
        runs = MlflowClient(store.uri).search_runs([experiment.experiment_id])
        assert sorted((run.info.run_name, run.info.status) for run in runs) == [
            ("joint/s0", "FINISHED"),
            ("layerwise/s0", "FINISHED"),
        ]
    finally:
        stop(server)


@pytest.fixture
def locked(local: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[sqlite3.Connection]:
    """Another connection keeps the database to itself, until it is rolled back."""
    monkeypatch.setattr("stacked.tracking.backend.store.BUSY_SECONDS", 0.2)
    with closing(sqlite3.connect(local.root / "mlflow.db", isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield connection


def test_a_database_locked_by_another_process_is_written_when_it_is_free(
    local: Store, locked: sqlite3.Connection, tmp_path: Path
) -> None:
    start = time.monotonic()
    with pytest.warns(RuntimeWarning, match=r"locked.*training goes on") as caught:  # noqa: PT031
        tracker = arm(open_store(local.root), tmp_path / "work", experiment="locked")
        log(tracker, range(300))
    assert len([each for each in caught if each.category is RuntimeWarning]) == 1
    assert time.monotonic() - start < 5
    assert tracker.run_id is None
    locked.rollback()
    later(local)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with tracker:
            log(tracker, range(300, 310))
    assert is_whole(local, tracker, range(310))
    assert run_of(local, tracker).info.status == "FINISHED"


def test_a_database_locked_in_the_middle_is_written_when_it_is_free(
    local: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stacked.tracking.backend.store.BUSY_SECONDS", 0.2)
    with arm(local, tmp_path / "work", experiment="locked") as tracker:
        log(tracker, range(100))
        with closing(sqlite3.connect(local.root / "mlflow.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.warns(RuntimeWarning, match="database is locked"):
                log(tracker, range(100, 300))
        assert tracker.unsent == 200
        later(local)
    assert is_whole(local, tracker, range(300))


def test_pictures_and_files_of_an_outage_are_sent_by_a_later_process(
    local: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ConnectionError("the store is away")

    picture = np.arange(64, dtype=np.uint8).reshape(8, 8)
    with monkeypatch.context() as patch:
        patch.setattr(StoreClient, "check_free", refuse)
        with pytest.warns(RuntimeWarning, match="away"):
            tracker = arm(local, tmp_path / "work", experiment="uploads")
        (tmp_path / "work" / "phase-1.safetensors").write_text("weights")
        for _ in range(2):  # as a run does that was killed and goes on
            tracker.image("grid", picture, 3)
            tracker.dataset("digits", "a" * 64, rows=10, shape=(1, 8, 8), context="train")
        tracker.text("{}", "spec.json")
        tracker.artifact(tmp_path / "work" / "phase-1.safetensors", "checkpoints")
        del tracker
    (tmp_path / "work").rename(tmp_path / "moved")
    circuit_breaker_for.cache_clear()  # as a new process has it
    with arm(local, tmp_path / "moved", experiment="uploads") as tracker:
        tracker.image("grid", picture, 3)
    client = MlflowClient(local.uri)
    pictures = [file.path for file in client.list_artifacts(tracker.run_id, "images") if file.path.endswith("png")]
    assert len(pictures) == 1
    files = [file.path for folder in (None, "checkpoints") for file in client.list_artifacts(tracker.run_id, folder)]
    assert {"spec.json", "checkpoints/phase-1.safetensors"} <= set(files)
    assert len(run_of(local, tracker).inputs.dataset_inputs) == 1
    assert list((tmp_path / "moved" / "unsent").glob("*")) == []


def test_a_run_whose_making_was_not_answered_is_found_again(local: Store, tmp_path: Path) -> None:
    first = arm(local, tmp_path / "work", experiment="made")
    log(first, range(10))
    record = tmp_path / "work" / "run.json"
    record.write_text(record.read_text().replace(f'"run_id": "{first.run_id}"', '"run_id": null'))
    with arm(local, tmp_path / "work", experiment="made") as second:
        pass
    assert second.run_id == first.run_id
    assert history(local, second.run_id, "train/loss") == [(step, float(step)) for step in range(10)]


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive", b'{"what": "log_text"}'])
def test_a_damaged_upload_is_named(local: Store, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "work" / "unsent").mkdir(parents=True)
    (tmp_path / "work" / "unsent" / "000001.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"000001\.npz is not a pending upload of a run: move it away"):
        arm(local, tmp_path / "work", experiment="damaged")


def test_nothing_kept_or_said_holds_a_login(local: Store, tmp_path: Path) -> None:
    store = Store(f"http://alice:secret@127.0.0.1:{free_port()}", local.root)
    with pytest.warns(RuntimeWarning) as caught, arm(store, tmp_path / "work", experiment="login") as tracker:
        tracker.log({"train/loss": 1.0}, 0)
    told = [str(each.message) for each in caught]
    told += [path.read_text() for path in (tmp_path / "work").rglob("*.json*")]
    assert any("training goes on" in each for each in told)
    assert len(told) > 1
    assert not any("secret" in each or "alice" in each for each in told)
    assert read_record(tmp_path / "work", store.name).store == store.name


def test_what_fails_at_once_is_tried_once_more() -> None:
    clock, tries = [0.0], []

    def fail(times: int, seconds: float) -> None:
        tries.append(clock[0])
        clock[0] += seconds
        if len(tries) <= times:
            raise ConnectionError("the server has closed the connection")

    for times, seconds, tried, sent in ((1, 0.1, 2, True), (2, 0.1, 2, False), (1, 2.0, 1, False)):
        tries.clear()
        uploader = Uploader(partial(fail, times, seconds), "store", "folder", CircuitBreaker(clock=lambda: clock[0]))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert uploader.flush() is sent
        assert len(tries) == tried
        assert len(caught) == (not sent)


def test_an_interrupt_is_not_taken_for_an_outage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLAlchemy raises an error of its own over one that comes while it works."""

    def fails(*_: object) -> None:
        try:
            raise Interrupted("stopped as asked")
        except Interrupted:
            raise SQLAlchemyError("Can't reconnect until invalid transaction is rolled back") from None

    with pytest.raises(Interrupted, match="stopped as asked"):
        Uploader(fails, "store", "folder", CircuitBreaker()).flush()
    monkeypatch.setattr("stacked.tracking.backend.store._first_use", fails)
    with pytest.raises(Interrupted, match="stopped as asked"):
        open_store(tmp_path)


def test_views_wait_for_a_store_that_fails(local: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    circuit_breaker_for(local.uri).failed(10.0)
    monkeypatch.setattr(StoreClient, "experiment_id", property(lambda _: pytest.fail("the store was asked")))
    with pytest.warns(RuntimeWarning, match="views of 'demo' are not saved: run the same command again later"):
        assert save_views(local, "waiting", "demo", probe=True, images=True) == {}


@pytest.mark.usefixtures("no_page")
def test_a_study_without_its_server_ends_well_and_says_how_to_send_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    words = [
        "--smoke",
        "--arms",
        "random",
        "--jobs",
        "1",
        "--out",
        str(tmp_path / "out"),
        "--store",
        str(tmp_path / "store"),
    ]
    with pytest.warns(RuntimeWarning) as caught:
        assert main(STUDY, words) == 0
    assert len([each for each in caught if "training goes on" in str(each.message)]) == 1
    assert "Connection refused" in str(caught[0].message)
    assert "MLflow lacks some results because it failed meanwhile" in capsys.readouterr().err
    assert load_rows(tmp_path / "out")["status"].tolist() == ["finished"]


@pytest.mark.parametrize("seed", range(30))
def test_no_minute_loses_more_than_a_quarter_whatever_happens(seed: int) -> None:
    chance, clock, lost = random.Random(seed), [0.0], []
    breaker = CircuitBreaker(clock=lambda: clock[0])
    least, most = [(0.0, 0.0), (0.0, ATTEMPT_SECONDS), (ATTEMPT_SECONDS, ATTEMPT_SECONDS)][seed % 3]
    while clock[0] < 3600:
        if breaker.allows(pressing=chance.random() < 0.5):
            seconds = chance.uniform(least, most)
            lost.append((clock[0], seconds))
            clock[0] += seconds
            breaker.failed(seconds)
        clock[0] += chance.expovariate(1)
    assert len(lost) > 10
    for start, _ in lost:
        assert sum(seconds for at, seconds in lost if start <= at < start + WITHIN) <= MOST_LOST


def _first_use(root: Path, index: int) -> None:
    with arm(open_store(root), root / "work" / str(index), f"layerwise/s{index}") as tracker:
        log(tracker, range(5))


def test_eight_processes_use_a_fresh_store_at_once(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    workers = [multiprocessing.get_context("fork").Process(target=_first_use, args=(tmp_path, i)) for i in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0] * 8
    client = MlflowClient(open_store(tmp_path).uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    runs = client.search_runs([experiment.experiment_id], "tags.kind = 'arm'")
    assert sorted(run.info.run_name for run in runs) == [f"layerwise/s{index}" for index in range(8)]
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert all(len(client.get_metric_history(run.info.run_id, "train/loss")) == 5 for run in runs)
