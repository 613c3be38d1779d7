"""Shards: the files that together hold a dataset, and the classes written in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stacked.util.checks import need

if TYPE_CHECKING:
    from numpy.typing import NDArray


def shards_of(root: Path, ending: str) -> tuple[list[Path], list[bool]]:
    """Return the files of a dataset, sorted by path, and which of them hold its official test set.

    root: a file, or a folder that holds files with this ending, such as ".tar"; if it has folders train and test, the files in
    these. Raises InputError if there are none, or others lie beside train and test.
    """
    if root.is_file():
        return [root], [False]
    found = sorted(path for path in root.rglob(f"*{ending}") if path.is_file() and not path.name.startswith("."))
    need(bool(found), f"{root} is no {ending} file and no folder that holds some: give the path of one")
    above = [path.relative_to(root).parts[0] for path in found]
    if not {"train", "test"} <= set(above):
        return found, [False] * len(found)
    beside = [path for path, part in zip(found, above, strict=True) if part not in ("train", "test")]
    need(
        not beside,
        f"{root} has train and test, and {len(beside)} files beside them, such as {beside and beside[0].name}: move them "
        "into one of the two, or elsewhere",
    )
    return found, [part == "test" for part in above]


def image_classes(texts: Sequence[str | None], what: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return labels, int64 [N], and the names of their classes, for a text of each image (None: it has no label, -1).

    Classes are sorted, by number if all are integers. A single class is no class: all labels are then -1. Raises InputError for
    a text without characters.
    """
    names = sorted({text for text in texts if text is not None})
    need("" not in names, f"{what} has images whose class is an empty text: give its name or number")
    if all(name.removeprefix("-").isdecimal() for name in names):
        names.sort(key=int)
    index = {name: label for label, name in enumerate(names)} if len(names) > 1 else {}
    return np.array([-1 if text is None else index.get(text, -1) for text in texts]), tuple(index)
