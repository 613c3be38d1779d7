"""The lock on the folder of a record: one command at a time works in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from stacked.cli.overwriting import below
from stacked.util.atomic import sweep, writing
from stacked.util.errors import InputError
from stacked.util.links import check_inside
from studies.record.backup import PATTERNS, RecordBackup


@contextmanager
def locked_record(out: Path) -> Iterator[RecordBackup]:
    """Context that locks the folder of a record and yields its backup, to be updated after each row that is written.

    Temporary files that killed processes left are deleted first. Raises InputError if another process holds the lock, or a file
    or folder of the record is a link that leads out of it; `out` itself may be reached through a link. If the folder, or a file
    with rows or settings, is removed inside the context, it is written again and RecordRemoved is raised.
    """
    lock = FileLock(out / ".study.lock", timeout=0)
    try:
        with writing(out / ".study.lock"):
            lock.acquire()
    except Timeout as error:
        raise InputError(f"another process works in {out}: wait for it to end, or choose another --out") from error
    try:
        check_inside(out, out / "samples", out / "figures", *below(out, *PATTERNS))
        sweep(out, out / "samples", out / "figures")
        backup = RecordBackup(out, out / ".study.lock")
        backup.update()
        try:
            yield backup
            backup.update()
        except (Exception, KeyboardInterrupt) as error:  # whatever error the removal caused
            if not backup.removed():
                raise
            raise backup.restore() from error
    finally:
        lock.release()
