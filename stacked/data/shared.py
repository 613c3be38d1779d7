"""Splits in memory that several processes share, so that it holds them once."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from stacked.data.formats.mapped import MappedPart, mapped_part
from stacked.data.formats.split import Split, Splits
from stacked.data.scaling import Scaling
from stacked.util.atomic import writing
from stacked.util.checks import need

#: alignment of the arrays, in bytes
ALIGNED = 64


@dataclass(frozen=True)
class Place:
    """The location of shared splits, for another process: of each array its place in a file, a `MappedPart` as a tuple."""

    name: str
    classes: tuple[str, ...]
    scaling: Scaling | None
    columns: tuple[str, ...]
    arrays: tuple[tuple[str, int, tuple[int, ...], str], ...]


class Reader:
    """Reads shared splits in another process; they stay readable after the sharing process has ended."""

    def __init__(self, place: Place) -> None:
        self.place, self.found = place, [MappedPart(*each).tensor() for each in place.arrays]

    @cached_property
    def splits(self) -> Splits:
        """The shared splits, copy-on-write: changes stay in this process."""
        found = self.found
        each = len(found) // 3  # inputs and labels, and targets if there are any
        train, valid, test = (Split(*found[k : k + each]) for k in range(0, len(found), each))
        place = self.place
        return Splits(place.name, train, valid, test, place.classes, place.scaling, place.columns)


@contextmanager
def shared(splits: Splits) -> Iterator[Place]:
    """Context in which the inputs and labels of `splits` lie in memory that other processes can map; yields its location.

    The arrays of `splits` are replaced by the shared ones, and their former memory is freed; those in memory-mapped files stay
    there. On Linux the shared memory is anonymous and freed when the last process that maps it ends, however it ends. Elsewhere
    it is a file in the system's temporary folder, which remains if this process is killed. Raises InputError if there is no room
    for a second copy of the arrays.
    """
    import torch

    from stacked.runtime.free_memory import free_bytes

    names = ("inputs", "labels", *(("targets",) if splits.train.targets is not None else ()))
    every = [(split, name) for split in (splits.train, splits.valid, splits.test) for name in names]
    places = [mapped_part(getattr(split, name)) for split, name in every]
    fields = [field for field, place in zip(every, places, strict=True) if place is None]
    blocks = (-(-getattr(split, name).nbytes // ALIGNED) for split, name in fields)
    *offsets, size = (ALIGNED * np.cumsum([0, *blocks])).tolist()
    free = free_bytes(torch.device("cpu"))
    need(
        size <= 0.9 * free,
        f"the examples take {size / 2**30:,.1f} GiB, and {free / 2**30:,.1f} are free to share them between processes: give "
        "--jobs 1, a smaller --image-size or fewer examples",
    )
    with _memory(size) as path:
        moved = []
        for (split, name), offset in zip(fields, offsets, strict=True):
            array = getattr(split, name).numpy()
            with writing(Path(path)), open(path, "r+b") as file:
                file.seek(offset)
                array.tofile(file)
            array = np.memmap(path, array.dtype, "r+", offset, array.shape)
            object.__setattr__(split, name, torch.from_numpy(array))
            moved.append(MappedPart(path, offset, array.shape, str(array.dtype)))
        rest = iter(moved)
        arrays = tuple(astuple(next(rest) if place is None else place) for place in places)
        yield Place(splits.name, splits.classes, splits.scaling, splits.columns, arrays)


@contextmanager
def _memory(size: int) -> Iterator[str]:
    """Context in which `size` bytes of memory can be mapped by other processes; yields the path to map."""
    if hasattr(os, "memfd_create") and os.path.exists("/proc/self/fd"):
        handle = os.memfd_create("stacked")
        try:
            os.truncate(handle, size)
            yield f"/proc/{os.getpid()}/fd/{handle}"
        finally:
            os.close(handle)
        return
    handle, path = tempfile.mkstemp(prefix="stacked-")
    try:
        os.close(handle)
        os.truncate(path, size)
        yield path
    finally:
        with suppress(OSError):  # Windows cannot delete a file that is still mapped
            Path(path).unlink()
