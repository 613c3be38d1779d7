"""Daily curves of electricity demand in Italy, from the package aeon or sktime, or from the UCR archive."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stacked.data.formats.dataset import DataSource, Source
from stacked.data.formats.files import corrupt
from stacked.data.formats.split import Splits
from stacked.util.errors import InputError
from stacked.util.reading import content_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

TEST = 1 / 6
FOLDER = "ItalyPowerDemand"
#: packages that hold the files, below datasets/data
PACKAGES = ("aeon", "sktime")
#: file -> SHA-256 of its lines of numbers, which differ between archives in their comments only
SHA256 = {
    "ItalyPowerDemand_TRAIN.ts": "002c1cbc95fc7ec418766e7c5f806a4076f00ac19b83ec771cb2b9c33228670e",
    "ItalyPowerDemand_TEST.ts": "56a12472041355ad83e8e3609f8bd9f400f935587243da1b093a316a774db06b",
}
LENGTH = 24


class ItalyPower(DataSource):
    """1,096 days of electricity demand, signals 1x24 of one value an hour: October to March, or April to September.

    Keogh et al. 2006, in the UCR archive. Each signal has a mean of 0 and a standard deviation of 1. The official training set
    has 67 signals; here both sets are one, of which a fixed stratified sixth is the test set.
    """

    name = "italy-power"

    def splits(self, source: Source, name: str, valid: float) -> Splits:
        """Read both files below the data directory, or from an installed package; InputError if they are missing or changed."""
        folder = next((each for each in folders(source) if all((each / file).is_file() for file in SHA256)), None)
        if folder is None:
            raise InputError(
                f"{name} is neither at {source.data_dir / FOLDER} nor in an installed package: pip install {PACKAGES[0]} (or "
                f"{PACKAGES[1]}), or put its files {', '.join(SHA256)} there"
            )
        parts = [read(folder / file, digest) for file, digest in SHA256.items()]
        signals, labels = (np.concatenate(each) for each in zip(*parts, strict=True))
        classes = ["October to March", "April to September"]
        return Splits.of(signals, labels, valid=valid, test=TEST, classes=classes, name=name)


def folders(source: Source) -> list[Path]:
    """Return the folders that may hold the files: below the data directory, and in installed packages, which are not imported."""
    found = [spec for spec in map(find_spec, PACKAGES) if spec is not None and spec.origin is not None]
    return [source.data_dir / FOLDER, *(Path(str(each.origin)).parent / "datasets" / "data" / FOLDER for each in found)]


def read(path: Path, sha256: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the signals [N, 1, 24] and the labels [N], 0 and 1, of a file in the format .ts."""
    text = content_of(path).decode("utf-8", errors="replace").lower()
    data = text.partition("@data")[2].split()
    if hashlib.sha256("\n".join(data).encode()).hexdigest() != sha256:
        raise corrupt(path, f"lines of numbers with SHA-256 {sha256}", f"install {PACKAGES[0]} again")
    rows = [line.partition(":") for line in data]
    signals = np.array([[float(value) for value in values.split(",")] for values, _, _ in rows])
    return signals.reshape(-1, 1, LENGTH), np.array([int(label) - 1 for _, _, label in rows])
