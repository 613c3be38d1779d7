"""MNIST, from the four original IDX files, which are bundled with the package."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from stacked.data.formats.dataset import Dataset, Official, Source
from stacked.data.formats.idx import IdxFolder

if TYPE_CHECKING:
    from importlib.abc import Traversable

SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""SHA-256 of the decompressed files."""


class Mnist(Dataset):
    """60,000 training and 10,000 test images of digits, 1x28x28 (LeCun, Cortes and Burges 1998).

    Bundled with the package: neither the network nor the data directory is used.
    """

    name = "mnist"

    def load(self, source: Source) -> Official:
        """Read the bundled files; raises InputError if one is invalid."""
        return IdxFolder(bundled(), SHA256, "reinstall the package").read(tuple("0123456789"))


def bundled() -> Traversable:
    """Return the folder of the bundled files."""
    return files("stacked.data") / "mnist"
