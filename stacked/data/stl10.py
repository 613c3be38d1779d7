"""STL-10, with and without its unlabelled images: from the data directory, or downloaded by torchvision."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stacked.data.dataset import Dataset, Official, Source
from stacked.data.files import download, missing, verify
from stacked.data.split import Split

FOLDER = "stl10_binary"
CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")


class Stl10(Dataset):
    """5,000 training and 8,000 test images, 3x96x96 (Coates, Lee and Ng 2011).

    Of each .bin file the MD5 that torchvision records is verified; no SHA-256 of these files is published
    (only that of the whole archive, f31fd99273a1acb8609c8db427cebb1de3f71de77758cdc0e22956e1289b9866).
    """

    name = "stl10"
    train_files: tuple[str, ...] = ("train_X.bin",)

    def load(self, source: Source) -> Official:
        """Read the official splits; raises InputError when the files are missing or corrupt."""
        from torchvision.datasets import STL10

        folder = source.data_dir / FOLDER
        md5 = dict(STL10.train_list + STL10.test_list)
        paths = [folder / file for file in (*self.train_files, "train_y.bin", "test_X.bin", "test_y.bin")]
        if not all(path.is_file() for path in paths):
            if not source.download:
                raise missing(self.name, source, FOLDER)
            download(self.name, source, lambda: STL10(str(source.data_dir), split="test", download=True))
        for path in paths:
            verify(path, "MD5", md5[path.name], "delete it and run again with --download")
        train = _split([folder / file for file in self.train_files], folder / "train_y.bin")
        return Official(train, _split([folder / "test_X.bin"], folder / "test_y.bin"), CLASSES)


class Stl10Unlabelled(Stl10):
    """As `stl10`, with its 100,000 unlabelled images (label -1) after the labelled ones in the training set.

    2.9 GB in memory, twice that while it is split.
    """

    name = "stl10+unlabelled"
    train_files = ("train_X.bin", "unlabeled_X.bin")


def _split(images: list[Path], labels: Path) -> Split:
    """Images, stored by columns, and labels, stored as 1..10: 0..9 here, -1 for the images beyond them."""
    import torch

    stored = [np.memmap(path, dtype=np.uint8, mode="r").reshape(-1, 3, 96, 96) for path in images]
    pixels = np.empty((sum(map(len, stored)), 3, 96, 96), dtype=np.uint8)
    np.concatenate([part.swapaxes(2, 3) for part in stored], out=pixels)
    classes = np.full(len(pixels), -1, dtype=np.int64)
    known = np.fromfile(labels, dtype=np.uint8)
    classes[: len(known)] = known.astype(np.int64) - 1
    return Split(torch.from_numpy(pixels), torch.from_numpy(classes))
