"""Addresses of PostgreSQL databases: their driver, their logins, and the time limit of its answers."""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path

import pytest

from stacked.tracking.backend.remote import postgresql
from stacked.tracking.backend.remote.waiting import bounded
from stacked.tracking.backend.store import reason_of
from stacked.tracking.tracker import Store, open_store
from stacked.util.errors import InputError
from stacked.viewing.server import command, database_variable, typed_command
from studies.cli.reader_command import reader_command

from sqlalchemy.exc import InvalidatePoolError  # isort: skip

ADDRESS = "postgresql://alice:secret@db.org:5433/runs?sslmode=require"


def test_the_driver_is_named_whatever_the_version_of_sqlalchemy(tmp_path: Path) -> None:
    named = postgresql.with_driver(ADDRESS)
    assert named == "postgresql+psycopg2://alice:secret@db.org:5433/runs?sslmode=require"
    assert postgresql.with_driver(named) == named
    assert postgresql.without_driver(named) == ADDRESS
    store = Store(named, tmp_path)
    assert store.name == "postgresql://db.org:5433/runs"
    assert (store.is_postgresql, store.keeps_files, store.is_server, store.is_local) == (True, True, False, False)
    assert store.database is None


@pytest.mark.parametrize("uri", ["sqlite:////a/postgresql.db", "http://postgresql:1", "/postgresql"])
def test_other_addresses_are_left_alone(uri: str) -> None:
    assert not postgresql.is_postgresql(uri)


def test_another_driver_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql+psycopg://alice:secret@host/runs")
    with pytest.raises(InputError, match=r"'postgresql\+psycopg://host/runs' of a store names another driver") as error:
        open_store(tmp_path)
    assert "secret" not in str(error.value)


def test_a_missing_driver_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("psycopg2", "psycopg2.extensions"):
        monkeypatch.setitem(sys.modules, name, None)
    postgresql._limit_waiting.cache_clear()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", ADDRESS)
    with pytest.raises(InputError) as error:
        open_store(tmp_path)
    assert str(error.value) == (
        "postgresql://db.org:5433/runs cannot be opened as an MLflow store (its driver psycopg2 is not installed: pip install "
        "'stacked[postgresql]'); name another folder, or set MLFLOW_TRACKING_URI to a store that works"
    )


def test_no_command_shows_a_login(tmp_path: Path) -> None:
    store = Store(postgresql.with_driver(ADDRESS), tmp_path)
    shown = typed_command(store)
    assert " MLFLOW_BACKEND_STORE_URI=postgresql+psycopg2://db.org:5433/runs python -m mlflow server " in shown
    assert database_variable(store) == {"MLFLOW_BACKEND_STORE_URI": store.uri}
    for text in (shown, " ".join(command(store)), reader_command("python -m studies.x", ["--store", ADDRESS])):
        assert "alice" not in text
        assert "secret" not in text


def test_the_reason_of_an_outage_is_the_first_cause_with_a_message() -> None:
    """SQLAlchemy's pool raises an error without one when it finds that a connection was closed."""
    error = ConnectionError("Connection refused")
    error.__context__ = InvalidatePoolError()
    assert reason_of(error) == "Connection refused"


class Connection:
    """What psycopg2 gives to a wait callback: a connection that needs an answer as long as none has come."""

    def __init__(self, answers: socket.socket) -> None:
        self.answers, self.polls = answers, 0

    def fileno(self) -> int:
        return self.answers.fileno()

    def poll(self) -> int:
        from psycopg2.extensions import POLL_OK, POLL_READ

        self.polls += 1
        try:
            return POLL_OK if self.answers.recv(1, socket.MSG_DONTWAIT) else POLL_READ
        except BlockingIOError:
            return POLL_READ


def test_an_answer_is_waited_for_until_the_deadline() -> None:
    psycopg2 = pytest.importorskip("psycopg2")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        began = time.monotonic()
        with pytest.raises(psycopg2.OperationalError, match=r"no whole answer within 0\.2 seconds"), bounded(0.2):
            postgresql._wait(Connection(ours))
        assert 0.15 < time.monotonic() - began < 5
        with bounded(5.0, free=1.0) as waiting:
            theirs.send(b"x")
            silent = Connection(ours)
            postgresql._wait(silent)
            assert silent.polls == 1
            assert waiting.spent == 0  # less than a free second
        with bounded(0.0), pytest.raises(psycopg2.OperationalError):
            postgresql._wait(Connection(ours))
        theirs.send(b"x")
        postgresql._wait(Connection(ours))  # without a limit
