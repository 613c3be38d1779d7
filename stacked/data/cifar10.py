"""CIFAR-10: from the data directory, or downloaded by torchvision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stacked.data.dataset import Dataset, Official, Source
from stacked.data.files import download, missing, verify
from stacked.data.split import Split

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10

FOLDER = "cifar-10-batches-py"
SHA256 = {
    "data_batch_1": "54636561a3ce25bd3e19253c6b0d8538147b0ae398331ac4a2d86c6d987368cd",
    "data_batch_2": "766b2cef9fbc745cf056b3152224f7cf77163b330ea9a15f9392beb8b89bc5a8",
    "data_batch_3": "0f00d98ebfb30b3ec0ad19f9756dc2630b89003e10525f5e148445e82aa6a1f9",
    "data_batch_4": "3f7bb240661948b8f4d53e36ec720d8306f5668bd0071dcb4e6c947f78e9682b",
    "data_batch_5": "d91802434d8376bbaeeadf58a737e3a1b12ac839077e931237e0dcd43adcb154",
    "test_batch": "f53d8d457504f7cff4ea9e021afcf0e0ad8e24a91f3fc42091b8adef61157831",
    "batches.meta": "f962466ef690d46b226450fb9aadc74ba4bc64a76aa526b5827fe4bc5c7125cb",
}
"""Of the files in cifar-10-python.tar.gz, as several independent projects record them."""


class Cifar10(Dataset):
    """50,000 training and 10,000 test images, 3x32x32 (Krizhevsky 2009).

    The published files are pickles, which can run code when opened. None is opened unless its SHA-256
    (verified here) and its MD5 (verified by torchvision just before) are those of the published file.
    """

    name = "cifar10"

    def load(self, source: Source) -> Official:
        """Read the official splits; raises InputError when the files are missing or corrupt."""
        from torchvision.datasets import CIFAR10

        root = str(source.data_dir)
        paths = [source.data_dir / FOLDER / file for file in SHA256]
        if not all(path.is_file() for path in paths):
            if not source.download:
                raise missing(self.name, source, FOLDER)
            download(self.name, source, lambda: CIFAR10(root, download=True))
        for path in paths:
            verify(path, "SHA-256", SHA256[path.name], "delete it and run again with --download")
        train, test = CIFAR10(root, train=True), CIFAR10(root, train=False)
        return Official(_split(train), _split(test), tuple(train.classes))


def _split(part: CIFAR10) -> Split:
    import torch

    images = torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous()
    return Split(images, torch.tensor(part.targets, dtype=torch.int64))
