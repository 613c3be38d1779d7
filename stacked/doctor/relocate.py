"""Addresses of files in a local database from before its folder was moved, because MLflow stores absolute ones."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from functools import partial

from stacked.doctor.finding import Finding
from stacked.tracking.backend.addresses import leads_in, stored
from stacked.tracking.backend.store import Store

#: The address of a local store's artifact folder, with MLflow's suffix for a run, a model or a trace.
_ADDRESS = re.compile(
    r"(file://.*?/artifacts)(?:/[0-9a-f]{32}/artifacts|/models/m-[0-9a-f]{32}/artifacts|/traces/tr-[0-9a-f]{32}/artifacts)?"
)


def find(store: Store) -> Iterator[Finding]:
    """Find addresses in another folder than the store's, to be replaced; those that lead anywhere else are reported only."""
    if not store.is_local:
        return
    here = store.artifacts.as_uri()
    places, outside = Counter[str](), dict[tuple[str, str], list[str]]()
    with closing(sqlite3.connect(store.root / "mlflow.db")) as database:
        for table, column, _, address in stored(database):
            found = _ADDRESS.fullmatch(address)
            if found and found[1] != here:
                places.update([found[1]])
            elif not leads_in(store, address):
                outside.setdefault((table, column), []).append(address)
    for old, number in sorted(places.items()):
        yield Finding(
            f"{number} addresses of files begin with {old}, but the store is in {store.root}",
            partial(_move, store, old, here),
            "they are replaced",
        )
    for (table, column), addresses in outside.items():
        yield Finding(
            f"{len(addresses)} addresses of files in {table}.{column} lead out of {store.artifacts}, such as "
            f"{addresses[0][:200]!r}, and are not used: remove them from the database"
        )


def _move(store: Store, old: str, here: str) -> None:
    with closing(sqlite3.connect(store.root / "mlflow.db", timeout=20)) as database, database:
        for table, column, row, address in list(stored(database)):
            if (found := _ADDRESS.fullmatch(address)) and found[1] == old:
                moved = here + address[len(old) :]
                database.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (moved, row))
