"""The work folder of a run, in which one process trains at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from stacked.util.atomic import writing
from stacked.util.errors import InputError


class InUse(InputError):
    """Another process is in a work folder."""


def lock_of(work: Path) -> BaseFileLock:
    """The lock of a work folder, one a process: who holds it already may take it again."""
    return FileLock(work.with_name(f"{work.name}.lock"), is_singleton=True)


@contextmanager
def held(work: Path, wait: float = 0.0) -> Iterator[None]:
    """Keep other processes out of a work folder; InUse when one is still in it after so many seconds."""
    lock = lock_of(work)
    try:
        with writing(Path(lock.lock_file)):
            work.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=wait)
    except Timeout as error:
        raise InUse(f"another process is training the run in {work}: wait for that to end") from error
    try:
        yield
    finally:
        lock.release()
