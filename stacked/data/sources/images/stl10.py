"""STL-10, with or without its unlabelled images, read from the data directory or downloaded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stacked.data.formats.dataset import Dataset, Official, Source
from stacked.data.formats.files import fetch, missing, read_archive
from stacked.data.formats.split import Split

ADDRESS = "https://ai.stanford.edu/~acoates/stl10/"
ARCHIVE = "stl10_binary.tar.gz"
SHA256 = "f31fd99273a1acb8609c8db427cebb1de3f71de77758cdc0e22956e1289b9866"
"""SHA-256 of the archive, as several independent projects record it."""

CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")


class Stl10(Dataset):
    """5,000 training and 8,000 test images, 3x96x96 (Coates, Lee and Ng 2011), read from the published archive."""

    name = "stl10"
    train_files: tuple[str, ...] = ("train_X.bin",)

    def load(self, source: Source) -> Official:
        """Read the official splits; raises InputError when the archive is missing or corrupt."""
        path = source.data_dir / ARCHIVE
        if not path.is_file():
            if not source.download:
                raise missing(self.name, source, ARCHIVE)
            fetch(self.name, ADDRESS, source.data_dir, {ARCHIVE: SHA256})
        names = [f"stl10_binary/{file}" for file in (*self.train_files, "train_y.bin", "test_X.bin", "test_y.bin")]
        found = read_archive(path, SHA256, names, "delete it and run again with --download")
        *train, train_labels, test, test_labels = (found.pop(name) for name in names)
        return Official(_split(train, train_labels), _split([test], test_labels), CLASSES)


class Stl10Unlabelled(Stl10):
    """STL-10 with its 100,000 unlabelled images (label -1) after the labelled ones in the training set.

    It takes 2.9 GB in memory, and twice as much while it is read and split.
    """

    name = "stl10+unlabelled"
    train_files = ("train_X.bin", "unlabeled_X.bin")


def _split(images: list[NDArray[np.uint8]], labels: NDArray[np.uint8]) -> Split:
    """Convert images, stored by columns, and labels, stored as 1..10: labels become 0..9, and -1 for images without one."""
    import torch

    stored = [part.reshape(-1, 3, 96, 96) for part in images]
    pixels = np.empty((sum(map(len, stored)), 3, 96, 96), dtype=np.uint8)
    np.concatenate([part.swapaxes(2, 3) for part in stored], out=pixels)
    classes = np.full(len(pixels), -1, dtype=np.int64)
    classes[: len(labels)] = labels.astype(np.int64) - 1
    return Split(torch.from_numpy(pixels), torch.from_numpy(classes))
