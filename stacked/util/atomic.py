"""Files are written whole or not at all."""

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
except ImportError:  # not on Windows, which deletes no file that is open
    fcntl = None  # type: ignore[assignment]

#: What the system says of a disk or a quota that is used up, and of a disk that takes nothing.
FULL = (errno.ENOSPC, errno.EDQUOT)
REFUSED = (*FULL, errno.EROFS)
#: The names of files that are being written: no other program gives such names.
PARTS = ".stacked-????????????????.part"


def write_atomically(path: Path, content: bytes | str) -> None:
    """Replace the file at `path`: a reader, also after a crash, sees the old content or the new one.

    Missing folders are made; text is written as UTF-8, bytes of names that are not escaped. The file may be read and written
    by whom the process's umask lets. Raises Unwritable when the place cannot be written, and leaves nothing behind then.
    """
    data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with part(path.parent) as file:
            file.write(data)
            put(file, path)


@contextmanager
def part(folder: Path) -> Iterator[IO[bytes]]:
    """A new file in `folder`, to be written and then `put` in its place; else it is gone on leaving.

    It is locked while it is open: what `sweep` finds unlocked, its process left when it was killed.
    """
    file = _new_part(folder)
    try:
        with file:
            yield file
    finally:
        with suppress(FileNotFoundError):
            os.unlink(file.name)


def put(file: IO[bytes], path: Path) -> None:
    """Give a `part` the name `path`, also if the power fails now."""
    file.flush()
    os.fsync(file.fileno())
    if fcntl is None:
        file.close()  # Windows renames no file that is open
    os.replace(file.name, path)
    _sync_folder(path.parent)


def sweep(*folders: Path) -> None:
    """Remove from folders what killed processes left half written; what a living process is writing stays."""
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
        file = open(path, "xb")  # noqa: SIM115  # unlike tempfile's, with the mode that the umask says
        if _locked(file) and os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # it was swept before it was locked


def _locked(file: IO[bytes]) -> bool:
    """Lock the file; whether nobody else has it locked."""
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks, where nothing is swept
            pass
    return True


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise Unwritable, in one sentence, where what is done in this context cannot write to `path`."""
    try:
        yield
    except TimeoutError:  # of a lock that another has
        raise
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: str | Path, error: OSError) -> Unwritable:
    """What to say of an `error` in writing to `path`."""
    remedy = "choose a folder that can"
    if error.errno in FULL:
        remedy = "what was kept is whole; free some space and run the same again, which goes on from there"
    return Unwritable(f"{path} cannot be written ({error.strerror}): {remedy}")


def _sync_folder(folder: Path) -> None:
    """See to it that the new name, too, outlives a loss of power; not every system lets a folder be opened for that."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
