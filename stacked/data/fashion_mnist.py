"""Fashion-MNIST: from the data directory, from Debian's package, or downloaded by torchvision."""

from __future__ import annotations

from pathlib import Path

from stacked.data.dataset import Dataset, Official, Source
from stacked.data.files import download, missing
from stacked.data.idx import IdxFolder

SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
"""Of the decompressed bytes: Debian compresses them anew, so its .gz files differ from the published ones."""

FOLDER = "FashionMNIST/raw"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


class FashionMnist(Dataset):
    """60,000 training and 10,000 test images of clothes, 1x28x28 (Xiao, Rasul and Vollgraf 2017).

    Looked for in FashionMNIST/raw below the data directory, where torchvision keeps it, then where Debian's
    package dataset-fashion-mnist puts it. A download checks the MD5 of each .gz file; the SHA-256 of the
    decompressed bytes is verified wherever they come from.
    """

    name = "fashion-mnist"

    def load(self, source: Source) -> Official:
        """Read the official splits; raises InputError when the files are missing or corrupt."""
        remedy = "delete it and get it again with --download or from Debian's package dataset-fashion-mnist"
        places = (source.data_dir / FOLDER, DEBIAN)
        found = [place for place in (IdxFolder(path, SHA256, remedy) for path in places) if place.complete()]
        return (found[0] if found else self._fetched(source, remedy)).read(CLASSES)

    def _fetched(self, source: Source, remedy: str) -> IdxFolder:
        if not source.download:
            raise missing(self.name, source, FOLDER, ", or install Debian's package dataset-fashion-mnist")
        from torchvision.datasets import FashionMNIST

        download(self.name, source, lambda: FashionMNIST(str(source.data_dir), download=True))
        return IdxFolder(source.data_dir / FOLDER, SHA256, remedy)
