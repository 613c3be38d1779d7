"""Commands never overwrite a file that they did not write themselves."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from stacked.util.checks import need

FORCE = "overwrite existing files"


def check_new(paths: Iterable[Path], what: str, force: bool = False) -> None:
    """Raise InputError for the first of `paths` that exists, unless `force`; `what` names the kind of path in the message."""
    for path in paths:
        need(force or not _there(path), f"{path} exists already: give another {what}, or overwrite it with --force")


def check_not_read(path: Path, read: Sequence[Path], what: str) -> None:
    """Raise InputError if `path`, to be written, is one of the files that are read; `what` names the option in the message."""
    for each in read:
        same = path.exists() and each.exists() and path.samefile(each)
        need(not same, f"{path} is an input and cannot be overwritten: give another {what}")


def check_own(own: bool, paths: Iterable[Path]) -> None:
    """Raise InputError for the first of `paths` that exists, unless this command wrote the folder (`own`)."""
    for path in () if own else paths:
        need(
            not _there(path),
            f"{path} exists already and was not written by this command: move it away, or give another --out",
        )


def below(folder: Path, *patterns: str) -> Iterator[Path]:
    """Yield the files in a folder that match one of these glob patterns, sorted for each pattern."""
    for pattern in patterns if os.path.isdir(folder) else ():  # Path.is_dir raises for some names
        yield from sorted(folder.glob(pattern))


def begins(path: Path, text: str) -> bool:
    """Whether the file exists and begins with this text."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(text.encode())) == text.encode()


def _there(path: Path) -> bool:
    return path.exists() or path.is_symlink()
