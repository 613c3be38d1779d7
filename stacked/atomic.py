"""Files are written whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stacked.errors import Unwritable

#: What the system says of a disk or a quota that is used up, and of a disk that takes nothing.
FULL = (errno.ENOSPC, errno.EDQUOT)
REFUSED = (*FULL, errno.EROFS)


def write_atomically(path: Path, content: bytes | str) -> None:
    """Replace the file at `path`: a reader, also after a crash, sees the old content or the new one.

    Missing folders are made; text is written as UTF-8, bytes of names that are not escaped. Raises Unwritable when the place
    cannot be written, and leaves nothing behind then.
    """
    data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
        _sync_folder(path.parent)


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
