"""Named arrays in an .npz file, read with limits on their number and size."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stacked.util.checks import need
from stacked.util.reading import opened

#: The most arrays that a file may hold, and the most bytes that they may take together.
MOST_ARRAYS, MOST_BYTES = 10_000, 2**28


def read_arrays(path: Path, most_bytes: int = MOST_BYTES) -> dict[str, NDArray[Any]]:
    """Return the arrays of an .npz file by name, which take at most `most_bytes` together.

    Raises one of `errors.UNREADABLE` if the file is not an .npz archive, is damaged, or exceeds the limits.
    """
    with opened(path) as file:
        need(file.read(2) == b"PK", "it is no archive, or has something before it")  # which zipfile would skip
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            need(len(members) <= MOST_ARRAYS, f"it has {len(members):,} arrays, more than {MOST_ARRAYS:,}")
            size = sum(
                member.file_size for member in members
            )  # zipfile unpacks no more than the size a member declares
            need(size <= most_bytes, f"its arrays take {size:,} bytes, more than {most_bytes:,}")
            return {member.filename.removesuffix(".npy"): _array(archive, member) for member in members}


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    """Return the array of a member of an archive, unpacked once."""
    with archive.open(member) as file:
        try:
            try:
                return np.lib.format.read_array(file, allow_pickle=False)
            finally:
                while file.read(2**16):  # to the end, where the checksum is: of a damaged header NumPy makes anything
                    pass
        except zipfile.BadZipFile as error:
            raise ValueError(f"{member.filename} is damaged") from error
