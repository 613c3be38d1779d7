"""Addresses of files in a local database from before its folder was moved, because MLflow stores absolute ones."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from functools import partial

from stacked.doctor.finding import Finding
from stacked.tracking.backend.store import Store

LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
#: The address of a local store's artifact folder, with MLflow's suffix for a run or a model.
_ADDRESS = re.compile(r"(file://.*?/artifacts)(?:/[0-9a-f]{32}/artifacts|/models/m-[0-9a-f]{32}/artifacts)?")


def find(store: Store) -> Iterator[Finding]:
    """Find addresses in another folder than the store's, to be replaced."""
    if not store.is_local:
        return
    here = store.artifacts.as_uri()
    places = Counter[str]()
    with closing(sqlite3.connect(store.root / "mlflow.db")) as database:
        for table, column in LOCATIONS:
            for (address,) in database.execute(f"SELECT {column} FROM {table} WHERE {column} IS NOT NULL"):
                found = _ADDRESS.fullmatch(address)
                places.update([found[1]] if found and found[1] != here else [])
    for old, number in sorted(places.items()):
        yield Finding(
            f"{number} addresses of files begin with {old}, but the store is in {store.root}",
            partial(_move, store, old, here),
            "they are replaced",
        )


def _move(store: Store, old: str, here: str) -> None:
    with closing(sqlite3.connect(store.root / "mlflow.db", timeout=20)) as database, database:
        for table, column in LOCATIONS:
            rows = database.execute(f"SELECT rowid, {column} FROM {table} WHERE {column} IS NOT NULL").fetchall()
            moved = [
                (here + address[len(old) :], row)
                for row, address in rows
                if (found := _ADDRESS.fullmatch(address)) and found[1] == old
            ]
            database.executemany(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", moved)
