"""What a dataset is: one small class in one module of this package.

A module that defines a `Dataset` is found by scanning the package, so a new dataset is a new file and nothing
else. Such a module imports torch inside its methods only: listing the names must stay fast.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import ClassVar

from stacked.data.formats.split import Split


@dataclass(frozen=True)
class Source:
    """Where a dataset is read from and how.

    `data_dir` holds (or receives) the files of datasets that are not bundled, and a user's own folders; `download`
    permits fetching. `argument` is what follows the colon of a name such as "folder:PATH"; `image_size` (pixels a
    side), `grey`, `white_level` (of 16-bit files) and `max_megapixels` say how a user's own images are decoded.
    """

    data_dir: Path
    download: bool = False
    argument: str = ""
    image_size: int = 224
    grey: bool = False
    white_level: int | None = None
    max_megapixels: float | None = None


def plain_path(path: str) -> str:
    """A path in the one way in which it is recorded: `a//b/` and `./a/b` are `a/b`, and so is `a\\b` on Windows."""
    return PurePath(path).as_posix() if path else path


@dataclass(frozen=True, eq=False)
class Official:
    """The training and test sets as their authors published them (or a fixed division where they did not).

    `classes` are the names of the labels 0..K-1; empty when there are no labels.
    """

    train: Split
    test: Split
    classes: tuple[str, ...]


class Dataset(ABC):
    """A named source of images.

    `name` is what users type; a name that ends in ":WORD" takes an argument after the colon.
    """

    name: ClassVar[str]

    @classmethod  # noqa: B027 (most take no argument)
    def check(cls, argument: str) -> None:
        """Raise InputError unless the dataset takes this argument, which is recorded as part of its name."""

    @abstractmethod
    def load(self, source: Source) -> Official:
        """Read the official splits: uint8 images [N, C, H, W] and int64 labels [N].

        Raises InputError when files are missing or are not what they should be; never a partial dataset.
        """
