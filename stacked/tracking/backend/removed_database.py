"""A database that is removed while runs are recorded in it: it is made anew, and they are sent again."""

from __future__ import annotations

import warnings
from pathlib import Path

from filelock import FileLock

from stacked.tracking.backend.store import BUSY_SECONDS, Store, let_go_of_connections, make_database


def made_anew(store: Store) -> bool:
    """Make the store's SQLite database where it was removed; whether that was so. Raises an outage where it cannot be made."""
    path = store.database
    if path is None or not _is_gone(path):
        return False
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder {path.parent} is gone")
    with FileLock(store.root / ".lock", timeout=BUSY_SECONDS):
        if _is_gone(path):  # another process may have made it meanwhile
            make_database(path)
            warnings.warn(
                f"{path} was removed while runs were recorded in it: it is made anew, and what this run noted is sent again; "
                f"runs that had ended are sent by 'python -m stacked.doctor unsent --store {store.root}'",
                RuntimeWarning,
                stacklevel=2,
            )
    let_go_of_connections(store.uri)
    return True


def _is_gone(path: Path) -> bool:
    """Whether there is no database; SQLite makes an empty file of one that is opened and not there."""
    return not path.exists() or not path.stat().st_size
