"""Files are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from stacked.errors import InputError


def write_atomically(path: Path, content: bytes | str) -> None:
    """Replace the file at `path`: a reader, also after a crash, sees the old content or the new one.

    Missing folders are made; text is written as UTF-8, bytes of names that are not escaped. Raises InputError when the place
    cannot be written.
    """
    data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    try:
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
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}): choose a folder that can") from error


def _sync_folder(folder: Path) -> None:
    """See to it that the new name, too, outlives a loss of power; not every system lets a folder be opened for that."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
