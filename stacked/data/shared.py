"""Splits in memory that processes share: it is there once, however many of them read it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from stacked.data.formats.split import Split, Splits
from stacked.util.atomic import writing
from stacked.util.checks import need

#: bytes of which each array begins at a multiple
ALIGNED = 64


@dataclass(frozen=True)
class Place:
    """Where the arrays of splits lie, for another process: a file, and of each array its offset, shape and dtype."""

    path: str
    name: str
    classes: tuple[str, ...]
    arrays: tuple[tuple[int, tuple[int, ...], str], ...]


class Reader:
    """Splits at a place, in another process than that which shares them. They stay readable when that has ended."""

    def __init__(self, place: Place) -> None:
        self.place, self.file = place, open(place.path, "rb")  # noqa: SIM115 (open for as long as this process lives)

    @cached_property
    def splits(self) -> Splits:
        """What another process shares; what is written into it stays in this one."""
        import torch

        found = [
            torch.from_numpy(np.memmap(self.file, dtype, "c", offset, shape))
            for offset, shape, dtype in self.place.arrays
        ]
        train, valid, test = (Split(*found[k : k + 2]) for k in range(0, len(found), 2))
        return Splits(self.place.name, train, valid, test, self.place.classes)


@contextmanager
def shared(splits: Splits) -> Iterator[Place]:
    """Move the images and labels of splits to memory that processes can share by its place, while this context lasts.

    Whoever has the splits has them there from now on, and the memory where they were is free. On Linux the new one has no name:
    it is gone when the last process that maps it is, however that ended. Elsewhere it is a file in the system's temporary
    folder, which stays there where this process is killed. Raises InputError where there is no room for it beside the old one.
    """
    import torch

    from stacked.runtime.free_memory import free_bytes

    fields = [(split, name) for split in (splits.train, splits.valid, splits.test) for name in ("images", "labels")]
    blocks = (-(-getattr(split, name).nbytes // ALIGNED) for split, name in fields)
    *offsets, size = (ALIGNED * np.cumsum([0, *blocks])).tolist()
    free = free_bytes(torch.device("cpu"))
    need(
        size <= 0.9 * free,
        f"the images take {size / 2**30:,.1f} GiB, and {free / 2**30:,.1f} are free to share them between processes: give "
        "--jobs 1, a smaller --image-size or fewer images",
    )
    with _memory(size) as path:
        arrays = []
        for (split, name), offset in zip(fields, offsets, strict=True):
            array = getattr(split, name).numpy()
            with writing(Path(path)), open(path, "r+b") as file:
                file.seek(offset)
                array.tofile(file)
            array = np.memmap(path, array.dtype, "r+", offset, array.shape)
            object.__setattr__(split, name, torch.from_numpy(array))
            arrays.append((offset, array.shape, str(array.dtype)))
        yield Place(path, splits.name, splits.classes, tuple(arrays))


@contextmanager
def _memory(size: int) -> Iterator[str]:
    """Memory of so many bytes that processes can map by a path, for as long as the context lasts."""
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
        with suppress(OSError):  # Windows removes no file that is mapped still
            Path(path).unlink()
