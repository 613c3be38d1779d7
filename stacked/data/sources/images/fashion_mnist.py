"""Fashion-MNIST, read from the data directory or Debian's package, or downloaded."""

from __future__ import annotations

from pathlib import Path

from stacked.data.formats.dataset import Dataset, Official, Source
from stacked.data.formats.files import fetch, missing
from stacked.data.formats.idx import IdxFolder

SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
"""SHA-256 of the decompressed files: Debian compresses them itself, so its .gz files differ from the published ones."""

ADDRESS = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
PUBLISHED = {
    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}
"""SHA-256 of the published .gz files, which a download must have."""

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

    They are looked for in FashionMNIST/raw below the data directory, as torchvision stores them, and then where Debian's
    package dataset-fashion-mnist installs them. The SHA-256 of the decompressed content is verified in both cases.
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
        fetch(self.name, ADDRESS, source.data_dir / FOLDER, PUBLISHED)
        return IdxFolder(source.data_dir / FOLDER, SHA256, remedy)
