"""Addresses of files in a local store's database: MLflow reads and writes wherever they lead, so all must lead into the store."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from stacked.util.checks import need
from stacked.util.errors import InputError

if TYPE_CHECKING:
    from stacked.tracking.backend.store import Store

#: Tables and columns with addresses, and the rows that count. MLflow's first experiment, in which this package makes no runs, has
#: a folder of the working directory.
LOCATIONS = (
    ("experiments", "artifact_location", "NOT (experiment_id = 0 AND artifact_location LIKE '%/mlruns/0')"),
    ("runs", "artifact_uri", "1"),
    ("logged_models", "artifact_location", "1"),
    ("model_versions", "source", "1"),
    ("model_versions", "storage_location", "1"),
    ("trace_tags", "value", "key IN ('mlflow.artifactLocation', 'mlflow.trace.archiveLocation')"),
    ("workspaces", "default_artifact_root", "1"),
    ("workspaces", "trace_archival_location", "1"),
)
#: Addresses that MLflow's server itself resolves, below the folder of artifacts or by other addresses in the database.
_RESOLVED = re.compile(r"(?:mlflow-artifacts|models|runs):/(?!/)[^%]*")


def stored(database: sqlite3.Connection) -> Iterator[tuple[str, str, int, str]]:
    """Yield the addresses in a database that are not empty, as (table, column, row, address)."""
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    for table, column, where in LOCATIONS:
        if table in tables:  # earlier versions of MLflow lack some
            text = f"CAST({column} AS TEXT)"
            rows = database.execute(f"SELECT rowid, {text} FROM {table} WHERE {text} != '' AND {where}").fetchall()
            yield from ((table, column, row, address) for row, address in rows)


def place_of(store: Store, address: object) -> Path | None:
    """Return the folder among the store's artifacts to which an address leads, by links too; None if it leads elsewhere."""
    from mlflow.utils.file_utils import local_file_uri_to_path

    if not isinstance(address, str) or not address.startswith(("file:", "/")):
        return None
    try:
        place = Path(os.path.realpath(local_file_uri_to_path(address)))
    except ValueError:  # it is no address, or has a null character
        return None
    return place if place.is_relative_to(os.path.realpath(store.artifacts)) else None


def leads_in(store: Store, address: str) -> bool:
    """Whether MLflow's server finds nothing outside of the store's artifacts by an address."""
    resolved = _RESOLVED.fullmatch(address) and ".." not in address.split("/")
    return bool(resolved) or place_of(store, address) is not None


def checked_place(store: Store, address: object, what: str) -> Path:
    """Return the folder among the store's artifacts to which the address of `what` leads; InputError if it leads elsewhere."""
    place = place_of(store, address)
    if place is None:
        raise InputError(_refusal(store, address, what))
    return place


def check_addresses(store: Store) -> None:
    """Raise InputError if an address in a local store's database leads out of its artifacts."""
    path = store.root / "mlflow.db"
    if not store.is_local or not path.exists():
        return
    try:
        with closing(sqlite3.connect(path)) as database:
            for table, column, _, address in stored(database):
                need(leads_in(store, address), _refusal(store, address, f"a row in {table}.{column}"))
    except sqlite3.Error as error:
        raise InputError(f"{path} cannot be read ({error}): try again, or name another store") from error


def _refusal(store: Store, address: object, what: str) -> str:
    return (
        f"the address of files {str(address)[:200]!r} of {what} leads out of the store, and only one in "
        f"{store.artifacts} is used: if the store was moved, correct this with "
        f"'python -m stacked.doctor relocate --store {store.root}', and otherwise "
        "remove it from the database"
    )
