"""Symbolic links in folders that others can write to: no link that leads out of the folder is followed."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

from stacked.util.checks import need
from stacked.util.errors import printable


def leads_out(path: Path, folder: Path) -> bool:
    """Whether `path`, which is in `folder`, resolves to a place outside of it."""
    return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def check_inside(folder: Path, *paths: Path) -> None:
    """Raise InputError for the first of `paths` that resolves to a place outside of `folder`."""
    for path in paths:
        need(
            not leads_out(path, folder),
            f"{path} is a link that leads out of {folder} and is not followed: move it away",
        )


def outward(folder: Path) -> Iterator[Path]:
    """Yield the links anywhere in `folder` that resolve to a place outside of it."""
    for parent, folders, files in os.walk(folder):
        for name in sorted([*folders, *files]):
            path = Path(parent) / name
            if path.is_symlink() and leads_out(path, folder):
                yield path


def left_out(path: Path) -> None:
    """Warn that a link is not uploaded to MLflow, since it may lead to any file of this machine."""
    message = f"{path} is a link that leads elsewhere: it is not sent to MLflow"
    warnings.warn(printable(message), RuntimeWarning, stacklevel=2)
