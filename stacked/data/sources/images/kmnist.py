"""KMNIST, read from the data directory or downloaded."""

from __future__ import annotations

from stacked.data.formats.dataset import Dataset, Official, Source
from stacked.data.formats.files import fetch, missing
from stacked.data.formats.idx import IdxFolder

ADDRESS = "https://codh.rois.ac.jp/kmnist/dataset/kmnist/"
FOLDER = "KMNIST/raw"
SHA256 = {
    "train-images-idx3-ubyte.gz": "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
    "train-labels-idx1-ubyte.gz": "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
    "t10k-images-idx3-ubyte.gz": "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
    "t10k-labels-idx1-ubyte.gz": "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
}
"""SHA-256 of the .gz files, as TensorFlow Datasets records them (url_checksums/kmnist.txt)."""


class Kmnist(Dataset):
    """60,000 training and 10,000 test images of cursive Japanese characters, 1x28x28 (Clanuwat et al. 2018).

    They are looked for in KMNIST/raw below the data directory, as torchvision stores them. The SHA-256 of the .gz files is
    verified on every reading; decompressed files, whose hashes are not published, are ignored.
    """

    name = "kmnist"

    def load(self, source: Source) -> Official:
        """Read the official splits; raises InputError when the files are missing or corrupt."""
        files = IdxFolder(source.data_dir / FOLDER, SHA256, "delete it and run again with --download")
        if not files.complete():
            if not source.download:
                raise missing(self.name, source, FOLDER)
            fetch(self.name, ADDRESS, source.data_dir / FOLDER, SHA256)
        return files.read(("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"))
