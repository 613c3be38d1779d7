"""Atomic file writes: a reader sees either the old content or the complete new one."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from stacked.util.errors import Unwritable

try:
    import fcntl
except ImportError:  # Windows has no fcntl, and deletes no file that is open
    fcntl = None  # type: ignore[assignment]

#: errno values of a full disk or an exhausted quota, and of a place that cannot be written at all.
FULL = (errno.ENOSPC, errno.EDQUOT)
REFUSED = (*FULL, errno.EROFS)
#: Pattern of the names of files that are being written.
PARTS = ".stacked-????????????????.part"


def write_atomically(path: Path, content: bytes | str) -> None:
    """Replace the file at `path` atomically: after a crash, too, it holds the old content or the new one.

    Missing folders are created. Text is encoded as UTF-8; characters that UTF-8 lacks (in file names) are escaped. The
    permissions of the file follow the process's umask. Raises Unwritable, and leaves no partial file, when `path` cannot be
    written.
    """
    data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with part(path.parent) as file:
            file.write(data)
            put(file, path)


@contextmanager
def part(folder: Path) -> Iterator[IO[bytes]]:
    """Open a new temporary file in `folder`; it is removed on exit unless `put` has moved it into place.

    The file is locked while it is open. An unlocked one belongs to a process that was killed, and `sweep` removes it.
    """
    file = _new_part(folder)
    try:
        with file:
            yield file
    finally:
        with suppress(FileNotFoundError):
            os.unlink(file.name)


def put(file: IO[bytes], path: Path) -> None:
    """Move the open temporary file of `part` to `path`, durable against a loss of power."""
    file.flush()
    os.fsync(file.fileno())
    if fcntl is None:
        file.close()  # Windows cannot rename an open file
    os.replace(file.name, path)
    _sync_folder(path.parent)


def sweep(*folders: Path) -> None:
    """Remove temporary files that killed processes left in these folders; files still being written are kept."""
    for path in (path for folder in folders for path in folder.glob(PARTS)):
        with suppress(OSError):
            if fcntl is None:
                path.unlink()
                continue
            with path.open("rb+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


def _new_part(folder: Path) -> IO[bytes]:
    while True:
        path = folder / f".stacked-{secrets.token_hex(8)}.part"
        file = open(path, "xb")  # noqa: SIM115  # tempfile would ignore the umask
        if _locked(file) and os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # another process swept the file before it was locked


def _locked(file: IO[bytes]) -> bool:
    """Lock the file; return False if another process holds the lock."""
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks: `sweep` removes nothing there either
            pass
    return True


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError raised in this context into Unwritable, with `path` in its message."""
    try:
        yield
    except TimeoutError:  # raised for a lock that another process holds
        raise
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: str | Path, error: OSError) -> Unwritable:
    """The Unwritable error that reports this OSError for `path`."""
    remedy = "choose a folder that can be written"
    if error.errno in FULL:
        remedy = "free some space and run the same command again; files written so far are complete and are reused"
    return Unwritable(f"{path} cannot be written ({error.strerror}): {remedy}")


def _sync_folder(folder: Path) -> None:
    """Make a rename durable against a loss of power, on systems that can open a folder for this."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
