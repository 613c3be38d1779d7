"""CIFAR-10 (binary version), read from the data directory or downloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stacked.data.formats.dataset import Dataset, Official, Source
from stacked.data.formats.files import fetch, missing, read_archive
from stacked.data.formats.split import Split

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ADDRESS = "https://www.cs.toronto.edu/~kriz/"
ARCHIVE = "cifar-10-binary.tar.gz"
SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
"""SHA-256 of the archive, as several independent projects record it."""

TRAIN = tuple(f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6))
TEST = ("cifar-10-batches-bin/test_batch.bin",)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class Cifar10(Dataset):
    """50,000 training and 10,000 test images, 3x32x32 (Krizhevsky 2009).

    Read from the published archive of the binary version, because the Python version consists of pickles, which can execute
    code when loaded.
    """

    name = "cifar10"

    def load(self, source: Source) -> Official:
        """Read the official splits; raises InputError when the archive is missing or corrupt."""
        path = source.data_dir / ARCHIVE
        if not path.is_file():
            if not source.download:
                raise missing(self.name, source, ARCHIVE)
            fetch(self.name, ADDRESS, source.data_dir, {ARCHIVE: SHA256})
        found = read_archive(path, SHA256, (*TRAIN, *TEST), "delete it and run again with --download")
        train, test = (_split([found[name] for name in names]) for names in (TRAIN, TEST))
        return Official(train, test, CLASSES)


def _split(parts: list[NDArray[np.uint8]]) -> Split:
    """Split records of 3,073 bytes (the label, then the pixels by channel and row) into images and labels."""
    import numpy as np
    import torch

    records = np.concatenate(parts).reshape(-1, 1 + 3 * 32 * 32)
    images = np.ascontiguousarray(records[:, 1:]).reshape(-1, 3, 32, 32)
    return Split(torch.from_numpy(images), torch.from_numpy(records[:, 0].astype(np.int64)))
