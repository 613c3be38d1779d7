"""The store of runs: a local folder with an SQLite database, a PostgreSQL database, or the user's own MLflow server."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

# MLflow reads these when it is imported. They turn telemetry off, and keep a server that does not answer from costing more than
# seconds: retries are left to the uploader.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # studies print the addresses themselves

from filelock import FileLock, Timeout
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from stacked.runtime.interruption import end_if_asked
from stacked.tracking.backend.circuit_breaker import ATTEMPT_SECONDS, circuit_breaker_for
from stacked.tracking.backend.remote import postgresql
from stacked.tracking.backend.remote.waiting import bounded
from stacked.tracking.backend.workarounds import forget_connections
from stacked.util.checks import need
from stacked.util.errors import InputError, printable
from stacked.util.links import check_inside
from stacked.util.loopback import unproxied
from stacked.util.paths import without_login, without_logins

# This logger reports every migration of a new database, and long tracebacks of errors that are also raised and reported in one
# line.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


class Unusable(InputError):
    """The store answers but cannot take runs, which its user must correct."""


OUTAGES = (Unusable, MlflowException, SQLAlchemyError, sqlite3.Error, OSError)
LOCK_SECONDS = 120.0  # time limit for opening a store, before training
BUSY_SECONDS = 10.0  # time limit for a store that other processes use during training
LONGEST_PATH = 512  # bytes of the longest path that SQLite accepts
#: Temporary names under which this process has created databases.
_MADE: set[Path] = set()


@dataclass(frozen=True)
class Store:
    """An MLflow store: its address, and the local folder (absolute) of work files.

    For the local store that folder also holds the database and the artifacts, for a PostgreSQL database the artifacts.
    """

    uri: str
    root: Path

    @property
    def artifacts(self) -> Path:
        """The folder of the artifacts of a store that is no server."""
        return self.root / "artifacts"

    @property
    def name(self) -> str:
        """The name of the store in records of runs: an address without login, or "local", so that a local store can be moved."""
        return "local" if self.is_local else without_login(postgresql.without_driver(self.uri))

    @property
    def is_local(self) -> bool:
        """Whether database and artifacts are in `root`."""
        return self.uri == _local_uri(self.root)

    @property
    def database(self) -> Path | None:
        """The file of the store's SQLite database, if it has one."""
        return _sqlite_path(self.uri)

    @property
    def is_postgresql(self) -> bool:
        """Whether the runs are written into a PostgreSQL database, without an MLflow server."""
        return postgresql.is_postgresql(self.uri)

    @property
    def keeps_files(self) -> bool:
        """Whether the artifacts are in `root`, and MLflow must not be led out of it."""
        return self.is_local or self.is_postgresql

    @property
    def is_server(self) -> bool:
        """Whether the store is an MLflow server."""
        return self.uri.startswith(("http://", "https://"))


def open_store(root: Path = Path("mlruns"), *, must_answer: bool = True) -> Store:
    """Open the local store in `root`, creating it if missing, or the store that MLFLOW_TRACKING_URI names.

    Any number of processes may open a new store at once. A server is not contacted here, because training does not depend on
    it. must_answer: whether it is an error that a PostgreSQL database does not answer; otherwise a warning tells of the outage,
    as is right for a store that was opened before. Raises `InputError` if the folder cannot be written, a database cannot be
    opened or has a trigger, or a part of the store is a link that leads out of it; `root` itself may be reached through a link.
    """
    os.environ.update(unproxied(os.environ))  # a proxy cannot reach servers on this machine's loopback
    root = root.resolve()
    _make_writable(root)
    check_inside(root, root / "work")
    uri = os.environ.get("MLFLOW_TRACKING_URI") or _local_uri(root)
    store = Store(postgresql.with_driver(uri) if postgresql.is_postgresql(uri) else uri, root)
    if store.keeps_files:
        check_inside(root, *root.glob("mlflow.db*"), store.artifacts)
        _make_writable(store.artifacts)
    if store.is_server:
        _check_address(store.uri)
    else:
        path = _sqlite_path(store.uri)
        need(
            path is None or not path.is_dir(),
            f"{path} is a folder, not a database: set MLFLOW_TRACKING_URI to sqlite:///{path}/mlflow.db, say",
        )
        _prepare(store, must_answer)
    return store


def _check_address(uri: str) -> None:
    try:
        at = urlsplit(uri)
        named = bool(at.hostname) and at.port != 0
    except ValueError:
        named = False
    need(
        named,
        f"MLFLOW_TRACKING_URI {without_login(uri)!r} is not the address of a server: give http://HOST:PORT, or unset it",
    )


def _local_uri(root: Path) -> str:
    return sqlite_uri(root / "mlflow.db")


def sqlite_uri(path: Path) -> str:
    """Return the address of an SQLite database for any path.

    If characters must be escaped the driver is named, because MLflow (3.17) creates the folders of "sqlite:///PATH" from the
    unescaped PATH.
    """
    plain = f"sqlite:///{path.as_posix()}"
    if _sqlite_path(plain) == path:
        return plain
    return URL.create("sqlite+pysqlite", database=path.as_posix()).render_as_string(hide_password=False)


def _sqlite_path(uri: str) -> Path | None:
    """Return the file of an SQLite address; None for other addresses, and for a database in memory."""
    if not uri.startswith("sqlite"):
        return None
    name = make_url(uri).database
    return Path(name) if name and name != ":memory:" else None


def _make_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise InputError(
            f"the folder {str(folder)!r} cannot hold the MLflow store ({error.strerror}); "
            "name a folder that can be written"
        ) from error


def _prepare(store: Store, must_answer: bool) -> None:
    """Make sure that MLflow can open the database; one that another process has locked now is accepted."""
    breaker, start = circuit_breaker_for(store.uri), time.monotonic()
    try:
        if store.is_local:
            _create_database(store.root)
            if not breaker.allows():
                return
            check_unlocked(store.root / "mlflow.db")
            check_passive(store.root / "mlflow.db")
            _first_use(store.uri)
        elif store.is_postgresql:
            if not must_answer and not breaker.allows():
                return
            with bounded(ATTEMPT_SECONDS):
                postgresql.check_answers(store.uri)
            with bounded(LOCK_SECONDS), postgresql.creating_tables(store.uri):
                _first_use(store.uri)
        else:
            with _locked(store.root):
                path = _sqlite_path(store.uri)
                if path is not None:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    check_opens(path)
                _first_use(store.uri)
    except (*OUTAGES, ImportError) as error:  # a database's driver may not be installed
        end_if_asked(error)
        reason = without_logins(str(error).strip().splitlines()[0])
        if not must_answer and store.is_postgresql and isinstance(error, OUTAGES):
            if breaker.failed(time.monotonic() - start):
                message = f"{store.name} cannot be opened ({reason}); training goes on, and its records are sent later"
                warnings.warn(printable(message), RuntimeWarning, stacklevel=3)
            return
        if "database is locked" in reason:
            if breaker.failed(time.monotonic() - start):
                message = (
                    f"another process has locked {without_login(store.uri)}; training goes on, and its records are sent "
                    "when the lock is released"
                )
                warnings.warn(printable(message), RuntimeWarning, stacklevel=3)
            return
        raise InputError(
            f"{without_login(postgresql.without_driver(store.uri))} cannot be opened as an MLflow store ({reason}); "
            "name another folder, or set MLFLOW_TRACKING_URI to a store that works"
        ) from error


def _first_use(uri: str) -> None:
    """Make MLflow create or check the schema."""
    MlflowClient(uri).search_experiments(max_results=1)


def check_opens(path: Path) -> None:
    """Raise an outage if SQLite cannot open or create this database: MLflow would retry silently for two minutes.

    Raises InputError if its path is too long.
    """
    try:
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA schema_version")
    except sqlite3.OperationalError as error:
        size = len(os.fsencode(path))
        if size <= LONGEST_PATH or "unable to open" not in str(error):
            raise
        raise InputError(
            f"the MLflow store cannot be opened: {path} has {size:,} bytes, and SQLite takes paths of {LONGEST_PATH}; "
            "name a folder with a shorter path"
        ) from error


def check_unlocked(path: Path) -> None:
    """Raise an outage if the database is missing or locked by another process: MLflow would wait twice as long."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS)) as database:
        database.execute("BEGIN IMMEDIATE")


def check_passive(path: Path) -> None:
    """Raise InputError if a database has a trigger or a view, by which an address could change after it was checked.

    MLflow makes a trigger of its own, for the table `secrets`, which is not used here.
    """
    with closing(sqlite3.connect(path)) as database:
        query = (
            "SELECT type, name FROM sqlite_master WHERE type = 'view' OR (type = 'trigger' AND tbl_name != 'secrets')"
        )
        for kind, name in database.execute(query):
            raise InputError(
                f"{path} has the {kind} {name!r}, which MLflow does not make: remove it with 'DROP {kind.upper()}', or name "
                "another store"
            )


def _create_database(root: Path) -> None:
    """Create the local database if it is missing, in one process only."""
    path = root / "mlflow.db"
    if path.exists():
        return
    with _locked(root):
        if not path.exists():
            make_database(path)


def make_database(path: Path) -> None:
    """Create a database atomically, under another name first: MLflow cannot repair one whose creation was interrupted."""
    made, begun = path.with_name(f".{path.stem}-new.db"), f".{path.stem}-new*"
    if made in _MADE:  # MLflow keeps connections to names that it has used
        made = made.with_stem(f"{made.stem}-{len(_MADE)}")
    _MADE.add(made)
    _unlink(path.parent.glob(begun))
    try:
        made.touch()  # with the permissions of the umask: SQLite's own do not let a group write
        check_opens(made)
        _first_use(sqlite_uri(made))
        _unlink(path.parent.glob(f"{path.name}-*"))  # SQLite would apply a journal of the old database to the new one
        os.replace(made, path)
        forget_connections(sqlite_uri(path))
    except BaseException:
        _unlink(path.parent.glob(begun))
        raise


def _unlink(paths: Iterable[Path]) -> None:
    for path in list(paths):
        path.unlink(missing_ok=True)


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Context that holds a store's lock; the system releases it if the process dies, so that a remaining file is harmless."""
    try:
        with FileLock(root / ".lock", timeout=LOCK_SECONDS):
            yield
    except Timeout as error:
        raise InputError(
            f"another process has held {str(root / '.lock')!r} for {LOCK_SECONDS:.0f} seconds; "
            "end it or use another folder"
        ) from error


def reason_of(error: BaseException) -> str:
    """Return in one line why the store failed, without the surrounding messages of MLflow and its libraries."""
    while (cause := _cause(error)) and cause.args:  # SQLAlchemy's pool raises errors without a message
        error = cause
    lines, kind = str(error)[:5000].strip().splitlines() or [""], type(error).__name__
    known = lines[0] and isinstance(error, OUTAGES)  # the message of another error can be a key, or a part of an answer
    return printable(without_logins(lines[0] if known else f"{kind}: {lines[0]}"))[:200]


def _cause(error: BaseException) -> BaseException | None:
    inside = (each for each in error.args if isinstance(each, BaseException))  # where urllib3 keeps the cause
    context = None if error.__suppress_context__ else error.__context__
    return error.__cause__ or context or next(inside, None)
