"""Decoded images in a file that is memory-mapped, written once: data larger than memory at random access.

A file KEY.images holds the pixels of all readable images one after another, and KEY.json beside it what was noticed while they
were decoded. KEY is a hash of everything that the pixels depend on, so that a file is right whenever it is there. While a file
is written it is called KEY.part, and KEY.progress says how far it is, from where a later process continues.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from filelock import FileLock, Timeout

from stacked.data.formats.mapped import MappedPart, check_free
from stacked.data.image_files.encoded import EncodedImages
from stacked.data.image_files.image import Report, check_report, decode_each
from stacked.runtime.progress import Bar, say, shown
from stacked.util.atomic import sweep, write_atomically, writing

if TYPE_CHECKING:
    from stacked.data.formats.dataset import Source

#: changes with the decoder or the layout of the files
VERSION = 1
#: seconds of decoding between two records of progress; so much is decoded again after a kill
EVERY = 10.0


@dataclass(frozen=True)
class CachedImages:
    """A complete file of decoded images, uint8 [N, C, size, size], and the report of decoding them."""

    path: Path
    shape: tuple[int, int, int]
    report: Report

    def part(self, start: int, stop: int) -> MappedPart:
        """Return the images from `start` up to `stop`."""
        row = self.shape[0] * self.shape[1] * self.shape[2]
        return MappedPart(str(self.path.absolute()), start * row, (stop - start, *self.shape), "uint8")


def cached_images(images: EncodedImages, order: Sequence[int], source: Source, folder: Path) -> CachedImages:
    """Return the file in `folder` with the images in this order, which is written if it is not there.

    source: how images are decoded. Decoding continues where a killed or interrupted process ended; another process that decodes
    the same images is waited for. Raises InputError if there is no room for the file, and Unwritable if it cannot be written.
    """
    side = source.image_size
    shape = (1 if source.grey else 3, side, side)
    stem = folder / key_of(images, order, source)
    found = _complete(stem, len(order), shape, source.most_unreadable)
    if found is None:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(stem.with_suffix(".lock"))
            try:
                lock.acquire(timeout=0)
            except Timeout:
                say(f"waiting for another process that decodes the same images into {folder}")
                lock.acquire()
            try:
                found = _complete(stem, len(order), shape, source.most_unreadable)
                if found is None:
                    sweep(folder)
                    _write(stem, images, order, source, shape)
                    found = _complete(stem, len(order), shape, source.most_unreadable)
            finally:
                lock.release()
    assert found is not None
    return found


def _complete(stem: Path, total: int, shape: tuple[int, int, int], most: float) -> CachedImages | None:
    """Return the file with all readable images of `total` ones; None if it is not there, or has another size.

    None too if more than the share `most` were unreadable: they are tried again, as they would be in memory.
    """
    path, recorded = stem.with_suffix(".images"), _recorded(stem.with_suffix(".json"))
    if recorded is None or not path.exists():
        return None
    _, report = recorded
    size = (total - len(report.unreadable)) * shape[0] * shape[1] * shape[2]
    is_usable = path.stat().st_size == size and not report.has_too_many_unreadable(most, total)
    return CachedImages(path, shape, report) if is_usable else None


def key_of(images: EncodedImages, order: Sequence[int], source: Source) -> str:
    """Return the hash (hex) of all that decoded pixels depend on: the images, their order, and how they are decoded."""
    import PIL

    options = (source.image_size, source.grey, source.white_level, source.max_megapixels)
    digest = hashlib.sha256(f"{VERSION} {PIL.__version__} {options} {len(order)}".encode())
    for number in order:
        digest.update(f"\0{images.state(number)}".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _recorded(path: Path) -> tuple[int, Report] | None:
    """Return how many images are done (0 in the record of a complete file) and the report of them.

    None if there is no such record, or a damaged one.
    """
    try:
        values = json.loads(path.read_text())
        done, report = int(values.get("done", 0)), Report(*(values[name] for name in Report.__dataclass_fields__))
        report.unreadable = [(int(place), str(reason)) for place, reason in report.unreadable]
    except (FileNotFoundError, ValueError, TypeError, LookupError, AttributeError):
        return None
    return done, report


def _write(
    stem: Path, images: EncodedImages, order: Sequence[int], source: Source, shape: tuple[int, int, int]
) -> None:
    """Write the file of decoded images and its record."""
    part, progress = stem.with_suffix(".part"), stem.with_suffix(".progress")
    row = shape[0] * shape[1] * shape[2]
    with part.open("ab") as file, shown(), Bar("decoding images", len(order)) as bar:
        done, report = _resume(file, progress, row, source.most_unreadable, len(order))
        check_free(stem.parent, (len(order) - done) * row, "decoded images")
        bar.resume(done)
        recorded, options = time.perf_counter(), (source.white_level, source.max_megapixels)
        found = decode_each(images, order[done:], shape[1], source.grey, *options)
        try:
            for place, each in enumerate(found, start=done):
                if each.pixels is not None:
                    file.write(each.pixels.data)
                report.add(place, each)
                done = place + 1
                if report.has_too_many_unreadable(source.most_unreadable, len(order)):
                    check_report(images, order, report, source.white_level, source.most_unreadable)
                bar.to(done)
                if time.perf_counter() - recorded > EVERY:
                    _record(file, progress, done, report)
                    recorded = time.perf_counter()
        finally:
            found.close()
            _record(file, progress, done, report)
    os.replace(part, stem.with_suffix(".images"))
    write_atomically(stem.with_suffix(".json"), json.dumps(asdict(report)))
    progress.unlink()


def _resume(file: IO[bytes], progress: Path, row: int, most: float, total: int) -> tuple[int, Report]:
    """Return how many images are done and the report of them, and cut the file after them.

    Decoding starts again if the process ended at more unreadable images than allowed, since they may have become readable
    without a change of size or time, as by a change of permissions.
    """
    done, report = _recorded(progress) or (0, Report())
    size = (done - len(report.unreadable)) * row
    if not 0 <= size <= os.fstat(file.fileno()).st_size or report.has_too_many_unreadable(most, total):
        done, report, size = 0, Report(), 0
    file.truncate(size)
    return done, report


def _record(file: IO[bytes], progress: Path, done: int, report: Report) -> None:
    """Record how many images are done, after they are on the disk."""
    file.flush()
    os.fsync(file.fileno())
    write_atomically(progress, json.dumps({"done": done, **asdict(report)}))
