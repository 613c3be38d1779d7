"""The lock on the folder of a record: one command at a time works in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from stacked.util.atomic import sweep, writing
from stacked.util.errors import InputError
from studies.record.kept import Kept


@contextmanager
def alone(out: Path) -> Iterator[Kept]:
    """Hold the folder, rid of what killed processes left half written; what gives is to be asked to look after each row.

    Raises InputError when another process works in it. Where the folder is removed meanwhile, what was in it is written again,
    and Removed is raised.
    """
    lock = FileLock(out / ".study.lock", timeout=0)
    try:
        with writing(out / ".study.lock"):
            lock.acquire()
    except Timeout as error:
        raise InputError(f"another process works in {out}: wait for it to end, or choose another --out") from error
    try:
        sweep(out, out / "samples", out / "figures")
        kept = Kept(out, out / ".study.lock")
        kept.look()
        try:
            yield kept
            kept.look()
        except (Exception, KeyboardInterrupt) as error:  # whatever came of the removal
            if not kept.is_gone():
                raise
            raise kept.write_again() from error
    finally:
        lock.release()
