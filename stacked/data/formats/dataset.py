"""The interface of a dataset: one small class in a module of `stacked.data.sources`.

Datasets are found by scanning that package, so a new dataset needs one new file and nothing else. Its module must import
torch inside methods only, so that listing the names stays fast.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path, PurePath, PureWindowsPath
from typing import ClassVar

from stacked.data.formats.split import Split, Splits, hold_out
from stacked.util.errors import InputError


@dataclass(frozen=True)
class Source:
    """Where a dataset is read from, and how.

    data_dir: folder of the datasets that are not bundled, and of a user's own images. download: whether missing files may be
    downloaded. argument: the part of the name after the colon, as in "folder:PATH". image_size (side in pixels), grey,
    white_level (of 16-bit files) and max_megapixels: how a user's own images are decoded. most_unreadable: the share (0 to 1) of
    them that may be unreadable and is left out. disk_cache: folder of a file of decoded images that is memory-mapped (None: they
    are in memory). target and missing: the column of a table that holds the labels, and how its missing values are filled in.
    """

    data_dir: Path
    download: bool = False
    argument: str = ""
    image_size: int = 224
    grey: bool = False
    white_level: int | None = None
    max_megapixels: float | None = None
    target: str | None = None
    missing: str | None = None
    most_unreadable: float = 0.0
    disk_cache: Path | None = None


#: the fraction of a training set that is held out for validation, where there is no official validation set
VALID = 1 / 12


def check_own_valid(name: str, valid: float) -> None:
    """Raise InputError if a fraction is given for the validation set of data that have their own."""
    if valid != VALID:
        raise InputError(f"valid={valid} does not apply to {name!r}, which has its own validation set: leave it out")


def plain_path(path: str) -> str:
    """Return the recorded form of a path: `a//b/`, `./a/b` and, on Windows, `a\\b` become `a/b`."""
    return PurePath(path).as_posix() if path else path


def is_below(path: str) -> bool:
    """Whether a path is relative and leads only downwards on every operating system, since records are moved between systems."""
    found = PureWindowsPath(path)  # accepts slashes as well as backslashes
    return not found.anchor and not path.startswith("~") and ".." not in found.parts


def check_below(kind: str, path: str) -> None:
    """Raise InputError unless the PATH of a dataset "kind:PATH" is relative and stays below the data directory."""
    if not is_below(path):
        raise InputError(
            f"{kind}:{path} is not allowed, because a dataset's name is recorded and must not name folders of this "
            f"machine: give {kind}:{PureWindowsPath(path).name}, and the folder that contains it as data_dir"
        )


@dataclass(frozen=True, eq=False)
class Official:
    """The training and test sets as published, or a fixed division where there is no official one.

    classes: the names of the labels 0..K-1; empty if there are no labels. valid: the validation set, if one was published.
    """

    train: Split
    test: Split
    classes: tuple[str, ...]
    valid: Split | None = None


class DataSource(ABC):
    """A named source of splits. `name` is what users type; a name that ends in ":WORD" takes an argument after the colon."""

    name: ClassVar[str]
    #: whether it decodes a user's image files, to which grey, white_level and max_megapixels apply
    decodes: ClassVar[bool] = False
    #: whether decoded images can lie in a memory-mapped file, to which disk_cache and most_unreadable apply
    can_be_mapped: ClassVar[bool] = False
    #: the share of unreadable images that is left out by default; 0: one is an error
    most_unreadable: ClassVar[float] = 0.0
    #: whether it reads tables, to which target and missing apply
    is_table: ClassVar[bool] = False

    @classmethod  # noqa: B027 (most datasets take no argument)
    def check(cls, argument: str) -> None:
        """Raise InputError unless `argument`, which is recorded as part of the name, is valid for this dataset."""

    @abstractmethod
    def splits(self, source: Source, name: str, valid: float) -> Splits:
        """Read the splits, which get this name; valid: the fraction of the training set that is held out, VALID by default.

        Raises InputError if files are missing or invalid; never returns part of a dataset, but for unreadable images up to the
        share `source.most_unreadable`.
        """


class Dataset(DataSource):
    """A named source of images, with a training and a test set."""

    def splits(self, source: Source, name: str, valid: float) -> Splits:
        """Read the official splits, and hold out a validation set unless one was published; errors as of `load`."""
        official = self.load(source)
        if official.valid is None:
            train, held = hold_out(official.train, valid)
        else:
            check_own_valid(name, valid)
            train, held = official.train, official.valid
        return Splits(name, train, held, official.test, official.classes)

    @abstractmethod
    def load(self, source: Source) -> Official:
        """Read the official splits: uint8 images [N, C, H, W] and int64 labels [N].

        Raises InputError if files are missing or invalid; never returns part of a dataset.
        """
