"""Datasets that are generated from a fixed seed: made once, kept in a file, and verified by SHA-256 on every reading."""

from __future__ import annotations

import hashlib
import io
import warnings
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from stacked.data.formats.dataset import Dataset, Official, Source
from stacked.data.formats.draws import Draws
from stacked.data.formats.files import corrupt
from stacked.data.formats.split import Split
from stacked.runtime.progress import Bar
from stacked.util.arrays import read_arrays
from stacked.util.atomic import write_atomically
from stacked.util.errors import UNREADABLE, InputError, Unwritable

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: images and labels [N]
Images = tuple["NDArray[np.uint8]", "NDArray[np.int64]"]
#: the folder of the files below the data directory
FOLDER = "generated"
#: parts of a file in their order: training, validation and test
PARTS = ("", "_valid", "_test")


class Generated(Dataset):
    """Grey images 1x28x28 that are generated, with their own validation set.

    They are kept as NAME.npz in `generated` below the data directory, which `--data npz:PATH` and numpy.load read as well: X, y,
    X_valid, y_valid, X_test and y_test. sizes: numbers of training, validation and test images. classes: names of the labels;
    without any, all labels are -1, and the file has no y. sha256: of all images and labels.
    """

    sizes: ClassVar[tuple[int, int, int]] = (10_000, 2_000, 50_000)
    classes: ClassVar[tuple[str, ...]]
    seed: ClassVar[int] = 2007
    sha256: ClassVar[str]

    @abstractmethod
    def generate(self, draws: Draws) -> Images:
        """Return uint8 images [N, 1, 28, 28] and their labels: those for training, then for validation, then for testing."""

    def load(self, source: Source) -> Official:
        """Read the images, or generate and keep them; InputError if their SHA-256 is not the published one."""
        path = source.data_dir / FOLDER / f"{self.name}.npz"
        return divided(*(self.kept(path) if path.exists() else self.made(path)), self.sizes, self.classes)

    def kept(self, path: Path) -> Images:
        """Return the images and labels in a file; InputError if it is damaged."""
        remedy = "delete it, and it is generated again"
        try:
            found = read_arrays(path)
            images = np.concatenate([found[f"X{part}"] for part in PARTS])
            labels = np.concatenate([found[f"y{part}"] for part in PARTS]) if self.classes else np.full(len(images), -1)
        except (*UNREADABLE, KeyError) as error:
            raise corrupt(path, "arrays of generated images", remedy) from error
        if digest(images, labels) != self.sha256:
            raise corrupt(path, f"images with SHA-256 {self.sha256}", remedy)
        return images, labels

    def made(self, path: Path) -> Images:
        """Generate the images and labels and keep them in a file; warn if it cannot be written."""
        with Bar(f"generating {self.name}", None):
            images, labels = self.generate(Draws(self.seed))
        if digest(images, labels) != self.sha256:
            raise InputError(
                f"{self.name} was generated with SHA-256 {digest(images, labels)}, and {self.sha256} is expected: this machine "
                f"computes otherwise; copy the file of another machine to {path}"
            )
        content, ends = io.BytesIO(), np.cumsum(self.sizes)[:-1]
        arrays: dict[str, Any] = {f"X{part}": each for part, each in zip(PARTS, np.split(images, ends), strict=True)}
        if self.classes:
            arrays |= {f"y{part}": each for part, each in zip(PARTS, np.split(labels, ends), strict=True)}
        np.savez(content, **arrays)
        try:
            write_atomically(path, content.getvalue())
        except Unwritable as error:
            warnings.warn(
                f"{self.name} is generated again each time, because it cannot be kept: {error}",
                RuntimeWarning,
                stacklevel=2,
            )
        return images, labels


def divided(
    images: NDArray[np.uint8], labels: NDArray[np.int64], sizes: tuple[int, int, int], classes: tuple[str, ...]
) -> Official:
    """Return images and labels as splits: the first for training, the next for validation, the last for testing."""
    import torch

    ends = np.cumsum(sizes)[:-1]
    train, valid, test = (
        Split(torch.from_numpy(np.ascontiguousarray(part)), torch.from_numpy(marks))
        for part, marks in zip(np.split(images, ends), np.split(labels, ends), strict=True)
    )
    return Official(train, test, classes, valid)


def digest(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> str:
    """Return the SHA-256 of the bytes of images, and of their labels as bytes (-1 as 255), in hexadecimal digits."""
    found = hashlib.sha256(images.tobytes())
    found.update(labels.astype(np.uint8).tobytes())
    return found.hexdigest()
