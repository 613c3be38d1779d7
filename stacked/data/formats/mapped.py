"""Tensors in memory-mapped files: their pages lie in the page cache, which the system frees as it needs memory."""

from __future__ import annotations

import math
import mmap
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stacked.util.atomic import writing
from stacked.util.checks import need

if TYPE_CHECKING:
    import torch
    from torch import Tensor

#: Linux's flag of a mapping for which no memory is reserved, which Python names from 3.13 on. Without it, Linux refuses private
#: mappings that are larger than memory and swap together.
NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)


@dataclass(frozen=True)
class MappedPart:
    """A tensor in a file: its path, offset in bytes, shape and the name of its dtype, such as "uint8"."""

    path: str
    offset: int
    shape: tuple[int, ...]
    dtype: str

    def tensor(self) -> Tensor:
        """Return the tensor in the file, copy-on-write: changes stay in this process.

        Raises OSError if the file cannot be read, and ValueError if it is shorter than the tensor.
        """
        import torch

        dtype = getattr(torch, self.dtype)
        if not math.prod(self.shape):
            return torch.empty(self.shape, dtype=dtype)
        with open(self.path, "rb") as file:
            if os.name == "posix":
                flags, access = mmap.MAP_PRIVATE | NO_RESERVE, mmap.PROT_READ | mmap.PROT_WRITE
                area = mmap.mmap(file.fileno(), 0, flags=flags, prot=access)
            else:
                area = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        values = torch.frombuffer(area, dtype=dtype, count=math.prod(self.shape), offset=self.offset)
        found: Any = values.view(self.shape)
        found.mapped_part = self  # of this object alone: copies and views of a tensor do not have its attributes
        return found


def mapped_part(values: Tensor) -> MappedPart | None:
    """Return where the tensor that `MappedPart.tensor` returned lies in a file; None for all others, and for views of it."""
    return getattr(values, "mapped_part", None)


def check_free(folder: Path, size: int, what: str) -> None:
    """Raise InputError unless `size` bytes are free in a folder, for `what`, such as "the codes"."""
    free = shutil.disk_usage(folder).free
    need(
        size <= free,
        f"{what} take {size / 2**30:,.1f} GiB, and {free / 2**30:,.1f} are free in {folder}: free some space, or choose another "
        "folder",
    )


def temporary(shape: tuple[int, ...], dtype: torch.dtype, folder: Path) -> Tensor:
    """Return a tensor of zeros in a temporary file in `folder`, which goes when the tensor or the process does.

    Raises InputError if there is no room for it, and Unwritable if the folder cannot be written.
    """
    import torch

    size = math.prod(shape) * dtype.itemsize
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        check_free(folder, size, "the codes of frozen stages")
        with tempfile.TemporaryFile(prefix="stacked-", dir=folder) as file:
            if hasattr(os, "posix_fallocate"):
                # a full disk is an error here, and would be a signal at a write to the mapping
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            area = mmap.mmap(file.fileno(), size)
    return torch.frombuffer(area, dtype=dtype).view(shape)
