"""No command writes over a file that it did not write itself."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from stacked.util.checks import need

FORCE = "write over files that are there already"


def check_new(paths: Iterable[Path], what: str, force: bool = False) -> None:
    """Raise InputError for the first path that is there already, unless `force`; `what` a command would write, as a name."""
    for path in paths:
        need(force or not _there(path), f"{path} is there already: name another {what}, or write over it with --force")


def check_not_read(path: Path, read: Sequence[Path], what: str) -> None:
    """Raise InputError where `path`, which a command would write as `what`, is one of the files that it reads."""
    for each in read:
        same = path.exists() and each.exists() and path.samefile(each)
        need(not same, f"{path} is read and cannot be written as well: name another {what}")


def check_own(own: bool, paths: Iterable[Path]) -> None:
    """Raise InputError for the first path that is there already, where the folder that a command writes to is not its `own`."""
    for path in () if own else paths:
        need(
            not _there(path),
            f"{path} is there already, and not written by this command: move it away, or choose another --out",
        )


def below(folder: Path, *patterns: str) -> Iterator[Path]:
    """The files in a folder that have one of these names, or patterns of names."""
    for pattern in patterns if os.path.isdir(folder) else ():  # unlike Path.is_dir, of any name
        yield from sorted(folder.glob(pattern))


def begins(path: Path, text: str) -> bool:
    """Whether a file begins with this text; not, where there is none."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(text.encode())) == text.encode()


def _there(path: Path) -> bool:
    return path.exists() or path.is_symlink()
