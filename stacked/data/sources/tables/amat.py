"""Data in the text format ".amat" of Larochelle et al. 2007, read from a user's own files."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from stacked.data.formats.dataset import Dataset, Official, Source, check_below
from stacked.data.formats.split import Split
from stacked.runtime.progress import Bar
from stacked.util.errors import InputError, printable
from stacked.util.reading import opened

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: side of the images in pixels, and the numbers of a line: the pixels and the label
SIDE = 28
COLUMNS = SIDE * SIDE + 1
#: training files of the published sets by their number of lines -> how many of these, the last ones, are for validation
VALIDATION = {12_000: 2_000, 8_000: 2_000, 1_200: 200}
#: lines that are read at a time; the most bytes of a line, and the most classes
LINES, MOST_BYTES, MOST_CLASSES = 1000, 64 * COLUMNS, 1000
#: largest difference of a value from a multiple of 1/255 that is not reported as a loss
EXACT = 1e-6
_TRAIN, _TEST = "*_train*.amat", "*_test.amat"
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


class Amat(Dataset):
    """Grey images, 1x28x28, and labels in text files: a line for each image, 784 values in [0, 1] row by row, then its label.

    This is the format of the sets of Larochelle et al. 2007 (basic, rot, bg-rand, bg-img, bg-img-rot, rectangles,
    rectangles-image and convex). PATH is a folder that holds one *_train*.amat and one *_test.amat, also in subfolders, or the
    training file, X_train.amat or X_train_valid.amat, beside or above its X_test.amat. Training files with the number of lines of
    a published set keep its split: the last 2,000 of 12,000 or of 8,000 lines, and the last 200 of 1,200, are the validation
    set. Of others, validation images are held out as of other data.

    Values are stored as bytes: 255 times a value, rounded. A warning says how much was lost if the values are not multiples of
    1/255 within 1e-6.
    """

    name = "amat:PATH"

    @classmethod
    def check(cls, argument: str) -> None:
        """Raise InputError unless the path is relative and stays below the data directory."""
        check_below("amat", argument)

    def load(self, source: Source) -> Official:
        """Read both files; InputError for files that are missing or ambiguous, and for the first invalid line and column."""
        import torch

        paths = _files(source.data_dir / source.argument)
        (train, train_labels), (test, test_labels) = map(_read, paths)
        classes = int(train_labels.max()) + 1
        for line, label in enumerate(test_labels, start=1):
            if label >= classes:
                raise InputError(
                    f"line {line} of {paths[1]} has the label {label}, and {paths[0]} has none above {classes - 1}: give files "
                    "of one data set"
                )
        n = len(train) - VALIDATION.get(len(train), 0)
        parts = [(train[:n], train_labels[:n]), (test, test_labels), (train[n:], train_labels[n:])]
        splits = [Split(torch.from_numpy(images), torch.from_numpy(labels)) for images, labels in parts]
        return Official(splits[0], splits[1], tuple(map(str, range(classes))), splits[2] if len(splits[2]) else None)


def _files(path: Path) -> tuple[Path, Path]:
    """Return the training and the test file that a path names; InputError if one is missing, or there are several."""
    if path.is_dir():
        return _one(path, _TRAIN), _one(path, _TEST)
    if not path.is_file():
        raise InputError(
            f"amat:{path} does not exist: give a folder with {_TRAIN} and {_TEST}, or such a training file"
        )
    stem, found, _ = path.name.rpartition("_train")
    if not found or path.suffix != ".amat":
        raise InputError(f"amat:{path} is not the name of a training file: give {_TRAIN}, or its folder")
    return path, _one(path.parent, f"{stem}_test.amat")


def _one(folder: Path, pattern: str) -> Path:
    found = sorted(path for path in folder.rglob(pattern) if path.is_file())
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputError(f"{folder} holds no {pattern}: add it")
    names = ", ".join([*(str(path.relative_to(folder)) for path in found[:3]), *["..."][: len(found) - 3]])
    raise InputError(f"{folder} holds {len(found)} files {pattern} ({names}): give the training file of one set")


def _read(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the images, uint8 [N, 1, 28, 28], and the labels, int64 [N], of a file; warn if rounding changed the values."""
    images: list[NDArray[np.uint8]] = []
    labels: list[NDArray[np.int64]] = []
    most, total, done = 0.0, 0.0, 0
    try:
        with opened(path) as file, Bar(f"reading {path.name}", None, "lines") as bar:
            for lines in _chunks(file, path):
                values = _numbers(path, done, lines)
                scaled = 255 * values[:, :-1]
                pixels = scaled.round()
                lost = np.abs(scaled - pixels) / 255
                most, total, done = max(most, float(lost.max())), total + float(lost.sum()), done + len(lines)
                images.append(pixels.astype(np.uint8).reshape(-1, 1, SIDE, SIDE))
                labels.append(values[:, -1].astype(np.int64))
                bar.to(done)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): make it readable") from error
    if not images:
        raise InputError(f"{path} has no lines: give a file with an image in each")
    if most > EXACT:
        mean = total / (done * (COLUMNS - 1))
        message = (
            f"the values of {path} are not multiples of 1/255: rounding to bytes changed them by up to {most:.2g}, by "
            f"{mean:.2g} on average"
        )
        warnings.warn(printable(message), stacklevel=2)
    return np.concatenate(images), np.concatenate(labels)


def _chunks(file: IO[bytes], path: Path) -> Iterator[list[str]]:
    """Yield the lines of a file, some at a time; InputError for one that is too long or not text."""
    before, remedy = 0, f"give {COLUMNS} numbers a line"
    while lines := list(islice(iter(lambda: file.readline(MOST_BYTES), b""), LINES)):
        texts = []
        for number, line in enumerate(lines, start=before + 1):
            if len(line) == MOST_BYTES and not line.endswith(b"\n"):
                raise InputError(f"line {number} of {path} has more than {MOST_BYTES:,} bytes: {remedy}")
            if not line.isascii():
                raise InputError(f"line {number} of {path} is not text: {remedy}")
            texts.append(line.decode("ascii"))
        yield texts
        before += len(lines)


def _numbers(path: Path, before: int, lines: list[str]) -> NDArray[np.float64]:
    """Return the numbers of lines, [lines, 785]; InputError for the first invalid one. before: number of lines before these."""
    try:
        values = np.loadtxt(lines, dtype=np.float64, comments=None, ndmin=2)
    except ValueError as error:
        raise _invalid(path, before, lines) or InputError(f"{path} is not a table of numbers ({error})") from error
    if values.shape != (len(lines), COLUMNS):  # loadtxt passes over empty lines
        raise _invalid(path, before, lines) or InputError(f"{path} is not a table of {COLUMNS} columns")
    pixels, labels = values[:, :-1], values[:, -1:]
    for first, wrong, allowed in (
        (0, ~((pixels >= 0) & (pixels <= 1)), "give values from 0 to 1"),
        (
            COLUMNS - 1,
            ~((labels >= 0) & (labels < MOST_CLASSES) & (labels == labels.round())),
            f"give a label, a whole number from 0 to {MOST_CLASSES - 1}, in the last column",
        ),
    ):
        if wrong.any():
            row, column = (int(each) for each in np.argwhere(wrong)[0])
            word = lines[row].split()[first + column]
            raise InputError(f"line {before + row + 1}, column {first + column + 1} of {path} is {word}: {allowed}")
    return values


def _invalid(path: Path, before: int, lines: list[str]) -> InputError | None:
    """Return the error of the first line that does not have 785 numbers; None if all have."""
    for number, line in enumerate(lines, start=before + 1):
        words = line.split()
        if len(words) != COLUMNS:
            return InputError(
                f"line {number} of {path} has {len(words)} columns: give {COLUMNS}, {COLUMNS - 1} pixels of {SIDE} x {SIDE} and "
                "the label"
            )
        for column, word in enumerate(words, start=1):
            if not _NUMBER.fullmatch(word):
                return InputError(
                    f"line {number}, column {column} of {path} is {printable(word[:20])!r}: give a number"
                )
    return None
