"""Datasets as train, valid and test splits of uint8 images.

    from stacked import data
    splits = data.load("mnist", limit=1000)

Importing this module, `names` and `check_name` do not import torch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from stacked.data import sources
from stacked.data.formats.dataset import Dataset, Source, plain_path
from stacked.data.formats.files import at_home
from stacked.data.formats.image import WHITE
from stacked.data.formats.split import Split, Splits, hold_out
from stacked.util.checks import positive, whole
from stacked.util.errors import InputError

__all__ = ["Split", "Splits", "check_name", "load", "names", "recorded_name"]


def names() -> tuple[str, ...]:
    """The names that `load` takes, sorted; one that ends in ":WORD" takes an argument in its place."""
    return tuple(sorted(_datasets()))


def check_name(name: str, data_dir: str | Path | None = None) -> None:
    """Raise InputError, with the names allowed and the nearest of them, unless `load` takes this name.

    A name is recorded, so it must not tell where anything lies on this machine: of "folder:PATH" no absolute path is taken.
    `data_dir` is where a folder may lie whose name is given alone.
    """
    _find(name, data_dir)


def recorded_name(name: str) -> str:
    """The name of a dataset as it is recorded: the same for a path, however it is written."""
    kind, colon, argument = name.partition(":")
    return f"{kind}{colon}{plain_path(argument)}"


def load(
    name: str,
    *,
    limit: int | None = None,
    valid: float = 1 / 12,
    data_dir: str | Path | None = None,
    download: bool = False,
    image_size: int = 224,
    grey: bool = False,
    white_level: int | None = None,
    max_megapixels: float | None = None,
) -> Splits:
    """Load a dataset's splits.

    `valid` (between 0 and 1) is the part of the official training set that is held out for selection:
    stratified, from the labelled part where there is one, and fixed whatever a run's seed. `limit` keeps that
    many of the remaining training images (balanced and nested); valid and test stay the same for every limit.
    `data_dir` holds what is not bundled (default: the environment variable STACKED_DATA, else
    ~/.cache/stacked), and is where the PATH of "folder:PATH" begins (default: the current folder); nothing is fetched
    unless `download`. `image_size` (pixels) and `grey` concern "folder:PATH" and "photographs" only, `white_level` (of 16-bit
    grey files the value that is white; None: 65,535) and `max_megapixels` (of the largest image; None: Pillow's limit of 89)
    "folder:PATH" only.

    Raises InputError for an unknown name, an option outside its range, and missing or corrupt files.
    """
    name = recorded_name(name)
    dataset, argument = _find(name, data_dir)
    if limit is not None and limit < 1:
        raise InputError(f"limit={limit} is not a number of training images: choose 1 or more, or leave it out")
    if not 0 < valid < 1:
        raise InputError(f"valid={valid} is not a part of the training set: choose a number between 0 and 1")
    if image_size < 1:
        raise InputError(f"image_size={image_size} is not a size in pixels: choose 1 or more")
    if grey and not argument and name != "photographs":
        raise InputError(f"grey does not apply to {name!r}, whose images are taken as they are: leave it out")

    if white_level is not None:
        whole(white_level, "white_level", most=WHITE)
    if max_megapixels is not None:
        positive(max_megapixels, "max_megapixels")
    for option, value in (("white_level", white_level), ("max_megapixels", max_megapixels)):
        if value is not None and not argument:
            raise InputError(f"{option} does not apply to {name!r}, which is no folder of images: leave it out")
    from stacked.data.labels import image_subset
    from stacked.runtime.settings import own_settings

    where = at_home(data_dir or ".") if argument else _data_dir(data_dir)
    with own_settings():
        source = Source(where, download, argument, int(image_size), grey, white_level, max_megapixels)
        official = dataset().load(source)
        train, held = hold_out(official.train, valid)
        if limit is not None:
            train = train.take(image_subset(train.labels, limit))
    return Splits(name, train, held, official.test, official.classes)


def _data_dir(given: str | Path | None) -> Path:
    return at_home(given or os.environ.get("STACKED_DATA") or "~/.cache/stacked")


def _find(name: str, data_dir: str | Path | None = None) -> tuple[type[Dataset], str]:
    """The dataset that a name stands for, and the argument in it, which it takes."""
    kind, colon, argument = name.partition(":")
    stems = {known.partition(":")[0]: known for known in names()}
    known = stems.get(kind)
    if known is not None and (":" in known) == bool(colon) == bool(argument):
        _datasets()[known].check(argument)
        return _datasets()[known], argument
    raise InputError(f"there is no dataset {name!r}: choose one of {', '.join(names())}{_hint(name, stems, data_dir)}")


def _hint(name: str, stems: Mapping[str, str], data_dir: str | Path | None) -> str:
    """What may have been meant by a name that no dataset has: a folder, an archive, or one of the names by their stems."""
    from stacked.data.sources.folder import is_archive

    path = at_home(data_dir or ".") / name
    if name and os.path.isdir(path):
        return f"; did you mean 'folder:{name}'?"
    if is_archive(path):
        return f"; {name} is an archive: unpack it, and give folder: with the path of the folder"
    near = get_close_matches(name.partition(":")[0].lower(), stems, n=1, cutoff=0.5)
    return f"; did you mean {stems[near[0]]!r}?" if near else ""


@cache
def _datasets() -> dict[str, type[Dataset]]:
    """Every dataset of this package by its name."""
    found: dict[str, type[Dataset]] = {}
    for info in iter_modules(sources.__path__):
        module = import_module(f"{sources.__name__}.{info.name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Dataset) and value.__module__ == module.__name__:
                if value.name in found:
                    raise TypeError(f"{value} and {found[value.name]} have the same name {value.name!r}")
                found[value.name] = value
    return found
