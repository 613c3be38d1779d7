"""Encoded images by number: in files of their own, or inside larger ones."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from stacked.data.image_files.image_file import Encoded


class EncodedImages(Protocol):
    """Images in files that are not decoded yet, by number."""

    def __len__(self) -> int: ...

    def name(self, number: int) -> str:
        """Return the name of an image in messages: where it is."""

    def read(self, number: int) -> Encoded:
        """Return the file or the bytes of an image, fastest in ascending order; OSError or ValueError if it cannot be read."""

    def state(self, number: int) -> str:
        """Return a text that changes when the image is replaced by another one."""

    def where(self) -> str:
        """Return the path that holds all images."""


class ImageFiles:
    """Images in files of their own."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, number: int) -> str:
        """Return the path."""
        return str(self.paths[number])

    def read(self, number: int) -> Path:
        """Return the path, since a thread that decodes reads it."""
        return self.paths[number]

    def state(self, number: int) -> str:
        """Return the path with the size and the time of the last change."""
        return file_state(self.paths[number])

    def where(self) -> str:
        """Return the innermost folder that holds all files, or the only file."""
        return str(Path(os.path.commonpath(self.paths)) if len(self.paths) > 1 else self.paths[0])


def file_state(path: Path) -> str:
    """Return the absolute path of a file with its size and the time of its last change, or why these are not known."""
    try:
        found = path.stat()
    except OSError as error:
        return f"{path.absolute()} {error.strerror}"
    return f"{path.absolute()} {found.st_size} {found.st_mtime_ns}"
