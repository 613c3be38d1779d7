"""Images and their classes in tar files, in the layout of WebDataset."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from stacked.data.formats.dataset import DataSource, Source, check_below
from stacked.data.formats.shards import image_classes, shards_of
from stacked.data.formats.split import Splits
from stacked.data.image_files.encoded import file_state
from stacked.data.image_files.image_file import NAMES, extensions
from stacked.data.image_files.reading import image_splits
from stacked.util.checks import need
from stacked.util.errors import InputError

#: the most bytes of an image, of the text of a class, and of the headers of a member, such as its long name
MOST_IMAGE, MOST_CLASS, MOST_HEADER = 2**30, 200, 2**20
BLOCK = tarfile.BLOCKSIZE


class Headers(io.FileIO):
    """A file whose reads are bounded, since tarfile reads headers of any stated size into memory."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to `size` bytes; OSError for more than MOST_HEADER."""
        if size is None or not 0 <= size <= MOST_HEADER:
            raise OSError(f"a header of more than {MOST_HEADER:,} bytes")
        return super().read(size)


@dataclass(frozen=True)
class Member:
    """A file in a tar file: the number of its shard, its name, and where its bytes are."""

    shard: int
    name: str
    offset: int
    size: int


class TarShards(DataSource):
    """Images in tar files, as 3 x image_size x image_size, or 1 x ... if grey; PATH is a tar file, or a folder of them.

    The layout is that of WebDataset: files whose names are equal up to the first dot of their last part are one example, such as
    0001.jpg with 0001.cls, which holds the class as text. Without any .cls there are no labels; an image without one has none.
    Other files are ignored. If PATH/train and PATH/test both exist, their shards are the official splits; otherwise a fixed
    stratified sixth is the test set. Tar files must not be compressed. Nothing is unpacked to the disk.
    """

    name = "tar:PATH"
    decodes = True
    can_be_mapped = True
    most_unreadable = 0.01

    @classmethod
    def check(cls, argument: str) -> None:
        """Raise InputError unless the path is relative and stays below the data directory."""
        check_below("tar", argument)

    def splits(self, source: Source, name: str, valid: float) -> Splits:
        """List and decode the images; InputError for files that are missing, no tar files or cut off, and too few images."""
        root = source.data_dir / source.argument
        shards, tested = shards_of(root, ".tar")
        members: list[Member] = []
        texts: list[str | None] = []
        for number, path in enumerate(shards):
            for member, text in _examples(number, path):
                members.append(member)
                texts.append(text)
        need(bool(members), f"{root} holds no images in {NAMES}: give tar files that do")
        labels, classes = image_classes(texts, str(root))
        test = np.flatnonzero([tested[member.shard] for member in members]) if any(tested) else None
        return image_splits(TarImages(shards, members), labels, classes, source, name, valid, test)


class TarImages:
    """Images inside tar files."""

    def __init__(self, shards: list[Path], members: list[Member]) -> None:
        self.shards, self.members = shards, members
        self.states = [file_state(path) for path in shards]

    def __len__(self) -> int:
        return len(self.members)

    def name(self, number: int) -> str:
        """Return the shard and the name in it."""
        member = self.members[number]
        return f"{self.shards[member.shard]}: {member.name}"

    def read(self, number: int) -> bytes:
        """Return the bytes of an image; OSError if the shard cannot be read."""
        member = self.members[number]
        with self.shards[member.shard].open("rb") as file:
            file.seek(member.offset)
            return file.read(member.size)

    def state(self, number: int) -> str:
        """Return the state of the shard, and where the image is in it."""
        member = self.members[number]
        return f"{self.states[member.shard]} {member.offset} {member.size}"

    def where(self) -> str:
        """Return the folder of the shards, or the only one."""
        return str(self.shards[0] if len(self.shards) == 1 else self.shards[0].parent)


def _examples(shard: int, path: Path) -> Iterator[tuple[Member, str | None]]:
    """Yield the images of a tar file, in its order, with the text of their classes (None: none)."""
    images: dict[str, Member] = {}
    texts: dict[str, str] = {}
    try:
        with Headers(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                archive.members.clear()  # type: ignore[attr-defined]  # they are listed here, with less memory
                if member.size < 0:  # older versions of tarfile would read this member again and again
                    raise tarfile.ReadError(f"{member.name} has {member.size:,} bytes")
                place = PurePosixPath(member.name)
                stem, _, ending = place.name.partition(".")
                key, kind = str(place.with_name(stem)) if stem else "", PurePosixPath(f"a.{ending.lower()}").suffix
                is_class = ending == "cls"
                if not key or not member.isreg() or not (is_class or kind in extensions()):
                    continue
                most = MOST_CLASS if is_class else MOST_IMAGE
                found: Collection[str] = texts if is_class else images
                need(
                    member.size <= most and not member.issparse(),
                    f"{path}: {member.name} has {member.size:,} bytes, and {most:,} are read at most: give smaller files",
                )
                need(
                    key not in found,
                    f"{path} holds several {'classes' if is_class else 'images'} of the example {key!r}: give one",
                )
                if is_class:
                    content = archive.extractfile(member)
                    texts[key] = content.read().decode().strip() if content else ""
                else:
                    images[key] = Member(shard, member.name, member.offset_data, member.size)
            file.seek(archive.offset)
            is_whole = file.read(BLOCK) == bytes(BLOCK)  # tarfile ends at a broken header without an error
    except InputError:
        raise
    except (OSError, tarfile.TarError, ValueError, OverflowError) as error:  # a size can be no offset, a text no UTF-8
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path} cannot be read as a tar file without compression ({reason}): repair it") from error
    need(is_whole, f"{path} is broken or cut off after {archive.offset:,} bytes: write it again")
    for key, image in images.items():
        yield image, texts.get(key)
