"""What the tests share: a tiny labelled dataset that needs no file, and a quiet, reproducible torch."""

from __future__ import annotations

import gc
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.pop("MLFLOW_TRACKING_URI", None)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run two at a time

import pytest

if TYPE_CHECKING:
    from stacked.data.formats.split import Splits

# torch and hypothesis are imported where they are used: pytest-xdist's first process, which runs no test and which the others
# wait for, loads this file too


def pytest_collection() -> None:
    """The same examples every time, and few: thousands of new ones a test with HYPOTHESIS_PROFILE=thorough."""
    from hypothesis import HealthCheck, settings

    gc.disable()  # while all is imported, of which nothing becomes garbage
    patient = settings(database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("quick", patient, derandomize=True, max_examples=60)
    settings.register_profile("thorough", patient, max_examples=2000)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_collection_finish() -> None:
    """What was imported is not searched for garbage again and again: that takes a fifth of the time of importing it."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that at the end no process has one of them left while the other has none."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def one_seed() -> None:
    """Tests start from the same global random state."""
    import torch

    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def no_tracking_server() -> Iterator[None]:
    """`mlflow.set_tracking_uri` writes this variable, which the processes that a test starts would follow."""
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """No test cuts the power, so nothing has to have reached the disk: waiting for it takes a third of the time of small runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda file: None)
        if "stacked.tracking.backend.store" not in sys.modules:  # no test that was collected has a store
            yield
            return
        from sqlalchemy import Engine, event

        def without_waiting(connection: Any, record: object) -> None:
            if isinstance(connection, sqlite3.Connection):
                connection.execute("PRAGMA synchronous = OFF")

        event.listen(Engine, "connect", without_waiting)
        yield
        event.remove(Engine, "connect", without_waiting)


@pytest.fixture(scope="session", autouse=True)
def one_commit() -> Iterator[None]:
    """The commit is asked of git once, and not by each of a thousand runs; the tests of that function import it themselves."""
    from stacked.runtime import environment

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(environment, "code_identity", cache(environment.code_identity))
        yield


@pytest.fixture(scope="session", autouse=True)
def one_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The database of a fresh store is a copy of the first one that MLflow makes in this process, which takes seconds."""
    stores = sys.modules.get("stacked.tracking.backend.store")
    if stores is None:  # no test that was collected has a store
        yield
        return
    first_use, ready = stores._first_use, tmp_path_factory.mktemp("database") / "mlflow.db"

    def first_use_or_copy(uri: str) -> None:
        path: Path | None = stores._sqlite_path(uri)
        empty = path is not None and path.is_file() and not path.stat().st_size
        if path and empty and ready.exists():
            with suppress(OSError):  # a disk that is full, say, of which MLflow's own words are to be told
                shutil.copyfile(ready, path)
                return
            os.truncate(path, 0)
        first_use(uri)
        if path and empty:
            shutil.copyfile(path, ready)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stores, "_first_use", first_use_or_copy)
        yield


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database, to be copied into the store of a process that a test starts: making one takes seconds."""
    from stacked.tracking.backend.store import open_store

    return open_store(tmp_path_factory.mktemp("empty")).root / "mlflow.db"


@pytest.fixture(autouse=True)
def new_patience() -> None:
    """No test waits for a store that failed in another."""
    from stacked.tracking.backend.circuit_breaker import circuit_breaker_for

    circuit_breaker_for.cache_clear()


@pytest.fixture
def no_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in this process log no model, for tests that look at none: exporting one takes more time than training it."""
    monkeypatch.setattr("stacked.tracking.tracker.Tracker.model", lambda *_: None)


@pytest.fixture
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies in this process draw no page, for tests that look at none."""
    monkeypatch.setattr("studies.report.write_report", lambda *_, **__: None)


@pytest.fixture(scope="session")
def toy() -> Splits:
    """The tiny dataset."""
    from tests.helpers.splits import toy_splits

    return toy_splits()
