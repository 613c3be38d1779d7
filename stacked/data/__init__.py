"""Datasets as training, validation and test splits: named sources of images and tables, and data of any kind in memory.

    from stacked import data
    splits = data.load("mnist", limit=1000)
    splits = data.Splits.of(X, y)

Importing this module and calling `names` or `check_name` does not import torch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from inspect import isabstract
from pathlib import Path
from pkgutil import walk_packages

from stacked.data import sources
from stacked.data.formats.dataset import VALID, DataSource, Source, is_below, plain_path
from stacked.data.formats.files import at_home
from stacked.data.formats.split import Split, Splits
from stacked.data.image_files.image import WHITE
from stacked.data.table import MISSING
from stacked.util.checks import choice, choices, positive, share, utf8, whole
from stacked.util.errors import InputError

__all__ = [
    "Split",
    "Splits",
    "apart",
    "can_be_mapped",
    "check_name",
    "check_table_options",
    "load",
    "names",
    "recorded_name",
    "sentence",
    "takes_image_size",
]


def names() -> tuple[str, ...]:
    """Return the names of all datasets, sorted; for "folder:PATH", "csv:PATH" and others give a path in the place of PATH."""
    return tuple(sorted(_datasets()))


def check_name(name: str, data_dir: str | Path | None = None) -> None:
    """Raise InputError, with the known names and the nearest of them, unless `load` accepts this name.

    Names are recorded and must not reveal folders of this machine, so "folder:PATH" takes no absolute path. `data_dir` is used
    only to suggest a folder of this name.
    """
    _find(name, data_dir)


def check_table_options(name: str, target: str | None, missing: str | None) -> None:
    """Raise InputError unless target (the column of a table with the labels) and missing apply to the dataset of this name."""
    dataset, _ = _find(name)
    for option, value in (("target", target), ("missing", missing)):
        if value is None:
            continue
        if not isinstance(value, str) or not value:
            raise InputError(f"{option} {value!r} is not allowed: give a text")
        if not dataset.is_table:
            kinds = " or ".join(known for known, each in sorted(_datasets().items()) if each.is_table)
            raise InputError(f"{option} does not apply to {name!r}, which is no table ({kinds}): leave it out")
    utf8(target or "", "target")
    if missing is not None:
        choice(missing, MISSING, "missing")


def can_be_mapped(name: str) -> bool:
    """Whether the decoded images of the dataset of this name can lie in a `disk_cache`."""
    return _find(name)[0].can_be_mapped


def takes_image_size(name: str) -> bool:
    """Whether image_size applies to the dataset of this name: to photographs, and to image files of a user."""
    return name == "photographs" or _find(name)[0].decodes


def sentence(name: str) -> str:
    """Return what the dataset with this name, one of `names`, is."""
    return (_datasets()[name].__doc__ or "").partition("\n")[0]


def recorded_name(name: str) -> str:
    """Return the recorded form of a dataset's name, in which each path has one spelling."""
    kind, colon, argument = name.partition(":")
    return f"{kind}{colon}{plain_path(argument)}"


def apart(name: str, data_dir: str | None) -> tuple[str, str | None]:
    """Split the name and data directory given by a user into the recorded name and the data directory.

    If the PATH of "folder:PATH" and others is absolute, begins with ~, leads upwards or is ".", its last part becomes the
    recorded path and everything before it the data directory.
    """
    kind, _, argument = name.partition(":")
    if f"{kind}:PATH" not in names() or not argument:
        return name, data_dir
    argument = plain_path(argument)
    if is_below(argument) and argument != ".":
        return f"{kind}:{argument}", data_dir
    path = os.path.join(os.path.expanduser(data_dir or ""), os.path.expanduser(argument))
    above, last = os.path.split(os.path.abspath(path))
    return f"{kind}:{last or argument}", above


def load(
    name: str,
    *,
    limit: int | None = None,
    valid: float = VALID,
    data_dir: str | Path | None = None,
    download: bool = False,
    image_size: int = 224,
    grey: bool = False,
    white_level: int | None = None,
    max_megapixels: float | None = None,
    target: str | None = None,
    missing: str | None = None,
    most_unreadable: float | None = None,
    disk_cache: str | Path | None = None,
) -> Splits:
    """Load a dataset's splits.

    valid: fraction (between 0 and 1) of the official training set that is held out for validation: stratified, from the
    labelled images if there are any, and the same for every seed. An official validation set is used as it is.
    limit: number of remaining training images to keep, balanced by class; a smaller limit is a subset of a larger one.
    Validation and test sets do not depend on it.
    data_dir: folder of the datasets that are not bundled (default: the environment variable STACKED_DATA, else
    ~/.cache/stacked); for "folder:PATH", "csv:PATH" and others the folder that PATH is relative to (default: the current folder).
    download: whether missing files may be downloaded.
    image_size, grey: side in pixels and number of channels of "folder:PATH" and "photographs".
    white_level: value of white in 16-bit grey files of "folder:PATH" (None: 65,535).
    max_megapixels: largest image that is read from "folder:PATH" (None: Pillow's limit of 89).
    target: the column of "csv:PATH" and "parquet:PATH" that holds the labels (None: there are no labels).
    missing: how their missing values are filled in, see `Splits.of` (None: they are refused).
    most_unreadable: the share (0 to 1) of image files that may be unreadable, which are left out with a warning (None: 0 for
    "folder:PATH", 0.01 for "tar:PATH" and "parquet-images:PATH").
    disk_cache: folder for a file with the decoded images of these three, which is memory-mapped, so that they need not fit in
    memory; it is kept and used again while neither images nor options change (None: images are decoded into memory).

    Raises InputError for an unknown name, an option outside its range, and missing or corrupt files.
    """
    name = recorded_name(name)
    dataset, argument = _find(name, data_dir)
    if limit is not None and limit < 1:
        raise InputError(f"limit={limit} is not a number of training images: give 1 or more, or leave it out")
    if not 0 < valid < 1:
        raise InputError(
            f"valid={valid} is not a fraction of the training set: give a number between 0 and 1, exclusive"
        )
    if image_size < 1:
        raise InputError(f"image_size={image_size} is not a size in pixels: give 1 or more")
    if grey and not dataset.decodes and name != "photographs":
        raise InputError(f"grey does not apply to {name!r}, whose number of channels is fixed: leave it out")
    if white_level is not None:
        whole(white_level, "white_level", most=WHITE)
    if max_megapixels is not None:
        positive(max_megapixels, "max_megapixels")
    if most_unreadable is not None:
        share(most_unreadable, "most_unreadable")
    for option, value, applies in (
        ("white_level", white_level, dataset.decodes),
        ("max_megapixels", max_megapixels, dataset.decodes),
        ("most_unreadable", most_unreadable, dataset.can_be_mapped),
        ("disk_cache", disk_cache, dataset.can_be_mapped),
    ):
        if value is not None and not applies:
            raise InputError(f"{option} does not apply to {name!r}, which is not a folder of images: leave it out")
    check_table_options(name, target, missing)
    from stacked.runtime.settings import own_settings

    folder = at_home(data_dir or ".") if argument else _data_dir(data_dir)
    with own_settings():
        source = Source(
            folder,
            download,
            argument,
            int(image_size),
            grey,
            white_level,
            max_megapixels,
            target,
            missing,
            dataset.most_unreadable if most_unreadable is None else most_unreadable,
            None if disk_cache is None else at_home(disk_cache),
        )
        splits = dataset().splits(source, name, valid)
        return splits if limit is None else splits.limited(limit)


def _data_dir(given: str | Path | None) -> Path:
    return at_home(given or os.environ.get("STACKED_DATA") or "~/.cache/stacked")


def _find(name: str, data_dir: str | Path | None = None) -> tuple[type[DataSource], str]:
    """Return the class of the dataset with this name, and the argument after the name's colon."""
    kind, colon, argument = name.partition(":")
    stems = {known.partition(":")[0]: known for known in names()}
    known = stems.get(kind)
    if known is not None and (":" in known) == bool(colon) == bool(argument):
        _datasets()[known].check(argument)
        return _datasets()[known], argument
    raise InputError(f"there is no dataset {name!r}{choices(name, names(), _hint(name, stems, data_dir))}")


def _hint(name: str, stems: Mapping[str, str], data_dir: str | Path | None) -> str:
    """Suggest a folder, an archive or a known dataset for an unknown name; `stems` maps names without argument to full names."""
    from stacked.data.sources.images.folder import is_archive

    path = at_home(data_dir or ".") / name
    if name and os.path.isdir(path):
        return f"; did you mean 'folder:{name}'?"
    kind = path.suffix.lower().removeprefix(".")
    if name and f"{kind}:PATH" in stems.values() and os.path.isfile(path):
        return f"; did you mean '{kind}:{name}'?"
    if is_archive(path):
        return f"; {name} is an archive: unpack it, and give folder: with the path of the folder."
    near = get_close_matches(name.partition(":")[0].lower(), stems, n=1, cutoff=0.6)
    return f"; did you mean {stems[near[0]]!r}?" if near else ""


@cache
def _datasets() -> dict[str, type[DataSource]]:
    """Return all dataset classes of this package by name."""
    found: dict[str, type[DataSource]] = {}
    for info in walk_packages(sources.__path__, f"{sources.__name__}."):
        module = import_module(info.name)
        for value in vars(module).values():
            is_source = isinstance(value, type) and issubclass(value, DataSource) and not isabstract(value)
            if is_source and value.__module__ == module.__name__:
                if value.name in found:
                    raise TypeError(f"{value} and {found[value.name]} have the same name {value.name!r}")
                found[value.name] = value
    return found
