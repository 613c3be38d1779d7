"""Named arrays in an .npz file, read with limits on their number and size."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stacked.util.checks import need
from stacked.util.reading import check_regular

#: The most arrays that a file may hold, and the most bytes that they may take together.
MOST_ARRAYS, MOST_BYTES = 10_000, 2**28


def read_arrays(path: Path, most_bytes: int = MOST_BYTES) -> dict[str, NDArray[Any]]:
    """Return the arrays of an .npz file by name, which take at most `most_bytes` together.

    Raises one of `errors.UNREADABLE` if the file is not an .npz archive, is damaged, or exceeds the limits.
    """
    check_regular(path)
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        need(len(members) <= MOST_ARRAYS, f"it has {len(members):,} arrays, more than {MOST_ARRAYS:,}")
        size = sum(member.file_size for member in members)  # zipfile unpacks no more than the size a member declares
        need(size <= most_bytes, f"its arrays take {size:,} bytes, more than {most_bytes:,}")
        damaged = archive.testzip()  # check all members first: NumPy misreads a damaged header
        need(damaged is None, f"{damaged} is damaged")
    with np.load(path, allow_pickle=False) as file:
        return dict(file)
