"""A folder of a user's own images, with or without a subfolder for each class."""

from __future__ import annotations

import os
import tarfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stacked.data.formats.dataset import DataSource, Source, check_below
from stacked.data.formats.split import Splits
from stacked.data.image_files.encoded import ImageFiles
from stacked.data.image_files.image import decode_all
from stacked.data.image_files.image_file import NAMES, extensions, special_kind
from stacked.data.image_files.reading import image_splits
from stacked.util.errors import InputError, printable

if TYPE_CHECKING:
    from torch import Tensor

#: the most extensions that a message about ignored files lists
KINDS = 5


@dataclass(frozen=True)
class Listing:
    """Image files below a folder, sorted by path; `labels` index `classes`, or are all -1.

    left_out: the number of other files by extension, and of pipes, sockets and devices by these names.
    """

    folder: Path
    paths: tuple[Path, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]
    left_out: Counter[str]


class Folder(DataSource):
    """Images in BMP, GIF, JPEG, PNG, PPM, TIFF or WebP, as 3 x image_size x image_size, or 1 x ... if grey.

    Subfolders are classes (images may lie deeper in them). A folder without subfolders, or with only one, has no labels. If
    PATH/train and PATH/test both exist, they are the official splits; otherwise a fixed stratified sixth is the test set.
    Hidden files are ignored. Files of other extensions, pipes and devices are counted in a warning. An unreadable image is an
    error, unless `most_unreadable` allows some.
    """

    name = "folder:PATH"
    decodes = True
    can_be_mapped = True

    @classmethod
    def check(cls, argument: str) -> None:
        """Raise InputError unless the path is relative and stays below the data directory."""
        check_below("folder", argument)

    def splits(self, source: Source, name: str, valid: float) -> Splits:
        """List, check and decode the images; InputError for missing, ambiguous, too few or unreadable images."""
        root = source.data_dir / source.argument
        _require_folder(root)
        if (root / "train").is_dir() and (root / "test").is_dir():
            return _divided(root, source, name, valid)
        listing = _list(root)
        _refuse_half_a_division(listing)
        mine = _without_one_class(listing)
        _require(mine, 3, "to train, validate and test with")
        found = image_splits(ImageFiles(mine.paths), np.array(mine.labels), mine.classes, source, name, valid)
        _tell_left_out(root, listing.left_out)
        _tell_one_class(root, listing.classes)
        return found


def named_images(
    folder: Path,
    image_size: int,
    grey: bool,
    white_level: int | None = None,
    max_megapixels: float | None = None,
) -> tuple[list[Path], Tensor]:
    """Return the paths of all images below a folder, at any depth, and the images as uint8 [N, C, H, W], decoded as by `load`.

    Raises InputError if there are none, or one cannot be read.
    """
    import torch

    paths, left_out = _images_in(folder)
    images = torch.from_numpy(decode_all(paths, image_size, grey, white_level, max_megapixels))
    _tell_left_out(folder, left_out)
    return paths, images


def named_paths(folder: Path) -> list[Path]:
    """Return the paths of all images below a folder, at any depth; InputError if there are none."""
    paths, left_out = _images_in(folder)
    _tell_left_out(folder, left_out)
    return paths


def _images_in(folder: Path) -> tuple[list[Path], Counter[str]]:
    _require_folder(folder)
    paths, left_out = _images(folder)
    _require_some(folder, paths, left_out)
    return paths, left_out


def _require_folder(path: Path) -> None:
    """Raise InputError unless `path` is a folder; the message explains what to do with an archive."""
    if os.path.isdir(path):  # Path.is_dir raises for some texts
        return
    if is_archive(path):
        raise InputError(f"folder:{path} is an archive: unpack it, and give the folder with the images after 'folder:'")
    raise InputError(f"folder:{path} is not a folder: give the path of a folder of images after 'folder:'")


def is_archive(path: Path) -> bool:
    """Whether the path is a zip or tar archive."""
    return os.path.isfile(path) and (zipfile.is_zipfile(path) or tarfile.is_tarfile(path))


def _divided(root: Path, source: Source, name: str, valid: float) -> Splits:
    """Return the splits of a folder that contains train and test."""
    paths, left_out = _images(root)
    beside = [path for path in paths if path.relative_to(root).parts[0] not in ("train", "test")]
    if beside:
        raise InputError(
            f"{root} has train and test, but also {len(beside)} images outside of them, the first {beside[0]}: move "
            "them into one of the two, or elsewhere (validation images are held out from train)"
        )
    train, test = _list(root / "train"), _list(root / "test")
    if bool(train.classes) != bool(test.classes):
        raise InputError(f"only one of {train.folder} and {test.folder} has class folders: give them to both")
    unknown = sorted(set(test.classes) - set(train.classes))
    if unknown:
        raise InputError(f"{test.folder} has a class {unknown[0]!r} that {train.folder} lacks: add or rename it")
    found = train.classes
    if len(found) == 1:
        train, test = _without_one_class(train), _without_one_class(test)
    _require(train, 2, "to train and validate with")
    index = {label: train.classes.index(each) for label, each in enumerate(test.classes)}
    labels = np.array([*train.labels, *(index.get(label, -1) for label in test.labels)])
    held = np.arange(len(train.paths), len(labels))
    splits = image_splits(ImageFiles((*train.paths, *test.paths)), labels, train.classes, source, name, valid, held)
    _tell_left_out(root, left_out)
    _tell_one_class(root / "train", found)
    return splits


def _list(folder: Path) -> Listing:
    """List the images of one folder with their labels; InputError if there are none, or images and class folders are mixed."""
    paths, left_out = _images(folder)
    _require_some(folder, paths, left_out)
    above = [path.relative_to(folder).parts[:-1] for path in paths]
    if not any(above):
        return Listing(folder, tuple(paths), (-1,) * len(paths), (), left_out)
    if not all(above):
        raise InputError(
            f"{folder} holds images ({paths[above.index(())].name}) next to folders of images: put each image into a "
            "class folder, or all in one folder without subfolders"
        )
    classes = tuple(sorted({parts[0] for parts in above}))
    index = {name: label for label, name in enumerate(classes)}
    return Listing(folder, tuple(paths), tuple(index[parts[0]] for parts in above), classes, left_out)


def _without_one_class(listing: Listing) -> Listing:
    """Remove the labels of a listing with a single class, which leave nothing to distinguish."""
    return replace(listing, labels=(-1,) * len(listing.paths), classes=()) if len(listing.classes) == 1 else listing


def _tell_one_class(folder: Path, classes: tuple[str, ...]) -> None:
    if len(classes) == 1:
        message = f"all images of {folder} are in one folder, {classes[0]!r}: they are read as images without classes"
        warnings.warn(printable(message), stacklevel=1)


def _images(folder: Path) -> tuple[list[Path], Counter[str]]:
    """Return all image files below a folder, sorted by path, and the number of others as in `Listing`, without hidden files."""
    found: list[Path] = []
    left_out = Counter[str]()

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be listed ({error.strerror}): make it readable") from error

    for top, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for link in (path for path in (Path(top, name) for name in folders) if path.is_symlink()):
            _refuse_loop(folder, link)
        for path in (Path(top, name) for name in files if not name.startswith(".")):
            kind = path.suffix.lower()
            special = special_kind(path) if kind in extensions() else None
            if kind in extensions() and not special:
                found.append(path)
            else:
                left_out[special or kind] += 1
    return sorted(found, key=lambda path: path.parts), left_out


def _require_some(folder: Path, paths: Sequence[Path], left_out: Counter[str]) -> None:
    """Raise InputError if the folder holds no image."""
    if not paths:
        others = f", only {_counted(left_out)}" if left_out else ""
        raise InputError(f"{folder} holds no images in {NAMES}{others}: give a folder that has some")


def _tell_left_out(folder: Path, left_out: Counter[str]) -> None:
    if left_out:
        many = f"{left_out.total():,} file{'s were' if left_out.total() > 1 else ' was'}"
        message = (
            f"{many} ignored in {folder}, since they are not files with an extension of {NAMES}: {_counted(left_out)}"
        )
        warnings.warn(printable(message), stacklevel=1)


def _counted(left_out: Counter[str]) -> str:
    """Describe the number of files of each kind, most frequent first: "12 .heic, 2 pipes, 1 without an extension"."""
    kinds = sorted(left_out, key=lambda kind: (-left_out[kind], kind))
    shown = [
        f"{left_out[kind]:,} {kind or 'without an extension'}{'s' * (kind.isalpha() and left_out[kind] > 1)}"
        for kind in kinds[:KINDS]
    ]
    rest = sum(left_out[kind] for kind in kinds[KINDS:])
    return ", ".join([*shown, *([f"{rest:,} others"] if rest else [])])


def _refuse_loop(folder: Path, link: Path) -> None:
    """Raise InputError for a link to a folder that contains it, whose images would be listed endlessly."""
    above, there = link.parents, link.resolve()
    inside = above[: len(above) - len(folder.parents)]
    if any(each.resolve().is_relative_to(there) for each in inside):
        raise InputError(f"{link} links to a folder that contains it, {there}: remove the link")


def _refuse_half_a_division(listing: Listing) -> None:
    """Raise InputError for a lone "train" or "test" with class folders in it, which is half of a division and not a class."""
    inside = [path.relative_to(listing.folder).parts for path in listing.paths]
    for here, there in (("train", "test"), ("test", "train")):
        if any(parts[0] == here and len(parts) > 2 for parts in inside):
            raise InputError(
                f"{listing.folder} has {here} with folders in it but no {there}: add {there}, or give "
                f"folder:{listing.folder / here} to hold out a test set from it"
            )


def _require(listing: Listing, least: int, purpose: str) -> None:
    """Raise InputError unless every class (or the whole folder, without classes) has `least` images."""
    label, count = min(Counter(listing.labels).items(), key=lambda item: item[1])
    if count < least:
        folder = listing.folder / listing.classes[label] if listing.classes else listing.folder
        many = f"{count} image{'s' * (count > 1)}"
        raise InputError(f"{folder} has {many}, and at least {least} are needed {purpose}: add some")
