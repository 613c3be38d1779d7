"""Links in a folder that somebody else may have made: none is followed out of it."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from stacked.util.checks import need


def leads_out(path: Path, folder: Path) -> bool:
    """Whether a path in `folder` is, or lies behind, a link to a place outside of it."""
    return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def check_inside(folder: Path, *paths: Path) -> None:
    """Raise InputError for the first of these paths in `folder` that leads out of it."""
    for path in paths:
        need(
            not leads_out(path, folder),
            f"{path} is a link that leads out of {folder}, and is not followed: move it away",
        )


def left_out(path: Path) -> None:
    """Warn of a link, which may lead to any file of this machine: what it leads to is sent nowhere."""
    warnings.warn(f"{path} is a link that leads elsewhere: it is left out of MLflow", RuntimeWarning, stacklevel=2)
