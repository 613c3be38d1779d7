"""Opens files for reading, if they are files: reading from a pipe, a socket or a device may never end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import IO


def check_regular(path: str | Path) -> None:
    """Raise OSError if the path is a pipe, a socket or a device; a folder is refused by whatever opens it."""
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "it is a pipe, a socket or a device, not a file", str(path))


def opened(path: str | Path) -> IO[bytes]:
    """Open a file for reading; OSError if it cannot be opened or is no regular file."""
    check_regular(path)
    return open(path, "rb")


def content_of(path: str | Path) -> bytes:
    """Return the content of a file; raises as `opened`."""
    with opened(path) as file:
        return file.read()


def text_of(path: str | Path) -> str:
    """Return the text of a file in UTF-8; raises as `opened`, and UnicodeDecodeError."""
    return content_of(path).decode("utf-8")
