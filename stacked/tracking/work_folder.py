"""Locks of work folders: one process at a time trains in a work folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from stacked.util.atomic import writing
from stacked.util.errors import InputError
from stacked.util.links import check_inside


class InUse(InputError):
    """Another process uses a work folder."""


def lock_of(work: Path) -> BaseFileLock:
    """Return the lock of a work folder, which a process that holds it can acquire again."""
    return FileLock(work.with_name(f"{work.name}.lock"), is_singleton=True)


def check_linked(work: Path) -> None:
    """Raise InputError if a work folder is a link that leads out of the folder in which it is."""
    check_inside(work.parent, work)


@contextmanager
def held(work: Path, wait: float = 0.0) -> Iterator[None]:
    """Context that locks a work folder; InUse if another process holds the lock for `wait` seconds.

    Raises InputError if the work folder is a link that leads elsewhere.
    """
    check_linked(work)
    lock = lock_of(work)
    try:
        with writing(Path(lock.lock_file)):
            work.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=wait)
    except Timeout as error:
        raise InUse(f"another process is training the run in {work}: wait until it ends") from error
    try:
        yield
    finally:
        lock.release()
