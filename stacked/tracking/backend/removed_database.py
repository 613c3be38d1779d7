"""Recovery from the removal of a database while runs are recorded in it: it is created again and the runs are sent again."""

from __future__ import annotations

import warnings
from pathlib import Path

from filelock import FileLock

from stacked.tracking.backend.store import BUSY_SECONDS, Store, make_database
from stacked.tracking.backend.workarounds import forget_connections
from stacked.util.errors import printable


def recreate_if_removed(store: Store) -> bool:
    """Create the store's SQLite database if it was removed, and return whether it was; raises an outage if this fails."""
    path = store.database
    if path is None or not _is_gone(path):
        return False
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder {path.parent} is gone")
    with FileLock(store.root / ".lock", timeout=BUSY_SECONDS):
        if _is_gone(path):  # another process may have created it meanwhile
            make_database(path)
            message = (
                f"{path} was removed while runs were recorded in it: it is created again, and this run is sent again; "
                f"runs that had ended are sent by 'python -m stacked.doctor unsent --store {store.root}'"
            )
            warnings.warn(printable(message), RuntimeWarning, stacklevel=2)
    forget_connections(store.uri)
    return True


def _is_gone(path: Path) -> bool:
    """Whether the database is missing or empty: SQLite creates an empty file when it opens a missing one."""
    return not path.exists() or not path.stat().st_size
