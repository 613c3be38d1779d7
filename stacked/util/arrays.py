"""Arrays by name in an .npz file, read without what its few bytes could ask for."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stacked.util.checks import need

#: arrays in a file, and bytes of all of them, at most
MOST_ARRAYS, MOST_BYTES = 10_000, 2**28


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a file; raises one of `errors.UNREADABLE` where it is none, is damaged, or holds too much."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        need(len(members) <= MOST_ARRAYS, f"it has {len(members):,} arrays, more than {MOST_ARRAYS:,}")
        size = sum(member.file_size for member in members)  # no more than this is unpacked of a member
        need(size <= MOST_BYTES, f"its arrays take {size:,} bytes, more than {MOST_BYTES:,}")
        damaged = archive.testzip()  # of every array, before NumPy takes a damaged header for one
        need(damaged is None, f"{damaged} is damaged")
    with np.load(path, allow_pickle=False) as file:
        return dict(file)
