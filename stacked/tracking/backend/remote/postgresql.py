"""PostgreSQL as the database of a store: its driver, limits on the time of every answer, and tables that one process creates.

The driver would wait without limit for a database that hangs, and not let Ctrl-C through. Here it waits by a function of this
module, within the deadline of `bounded`. Only the lookup of a host name keeps to the limits of the system.
"""

from __future__ import annotations

import math
import select
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.engine import Engine
from sqlalchemy.pool import NullPool

from stacked.tracking.backend.remote.waiting import _waiting
from stacked.util.checks import need
from stacked.util.paths import without_login

_PLAIN, _NAMED = "postgresql://", "postgresql+psycopg2://"
#: The number of the lock under which MLflow's tables are created, any number that other programs do not use.
_TABLES = 7_225_883_114


def is_postgresql(uri: str) -> bool:
    """Whether an address is that of a PostgreSQL database, with whatever driver."""
    return uri.partition(":")[0].partition("+")[0] == "postgresql"


def with_driver(uri: str) -> str:
    """Return the address of a PostgreSQL database with its driver, without which the version of SQLAlchemy decides on one.

    Raises InputError if the address names another driver than psycopg2.
    """
    need(
        uri.startswith((_PLAIN, _NAMED)),
        f"the address {without_login(uri)!r} of a store names another driver than psycopg2: begin it with {_PLAIN}",
    )
    return uri.replace(_PLAIN, _NAMED, 1)


def without_driver(uri: str) -> str:
    """Return the address as users write it."""
    return uri.replace(_NAMED, _PLAIN, 1)


def check_answers(uri: str) -> None:
    """Raise an outage if the database cannot be connected to, where MLflow would try again for two minutes.

    Raises ImportError if the driver is not installed.
    """
    with _engine(uri).connect():
        pass


@contextmanager
def creating_tables(uri: str) -> Iterator[None]:
    """Context in which no other process, on any machine, creates MLflow's tables: of two at once one would fail."""
    with _engine(uri).connect() as connection:  # whose end releases the lock
        connection.execute(text("SELECT pg_advisory_lock(:number)"), {"number": _TABLES})
        yield


def _engine(uri: str) -> Engine:
    """Return an engine that opens a connection of its own each time."""
    _limit_waiting()
    return create_engine(uri, poolclass=NullPool, isolation_level="AUTOCOMMIT")


@cache
def _limit_waiting() -> None:
    """Make the driver of this process wait by `_wait`; ImportError if it is not installed."""
    try:
        from psycopg2.extensions import set_wait_callback
    except ImportError:
        raise ImportError(
            "its driver psycopg2 is not installed: pip install 'stacked[postgresql]'", name="psycopg2"
        ) from None
    set_wait_callback(_wait)


def _wait(connection: Any) -> None:
    """Wait until a connection is ready; psycopg2.OperationalError if the time is over. Outside of `bounded` it has no limit.

    Each statement is a call of its own: the first second of one that is answered does not count.
    """
    from psycopg2 import OperationalError

    waiting, good = _waiting.get(), False
    try:
        if waiting is not None:
            waiting.call()
            waiting.begin(math.inf)
        while events := _awaited(connection.poll()):
            poll = select.poll()  # Ctrl-C ends it
            poll.register(connection.fileno(), events)
            poll.poll(None if waiting is None else 1000 * waiting.left())
        good = True
    except TimeoutError as error:
        raise OperationalError(str(error)) from None  # as which SQLAlchemy gives the connection up
    finally:
        if waiting is not None:
            waiting.end(good=good)


def _awaited(state: int) -> int:
    """Return the events of `select.poll` that a connection in this state waits for; 0 if it is ready."""
    from psycopg2.extensions import POLL_READ, POLL_WRITE

    return {POLL_READ: select.POLLIN, POLL_WRITE: select.POLLOUT}.get(state, 0)
