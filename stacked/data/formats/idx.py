"""The IDX format of the MNIST family: gzip or plain, parsed strictly and verified by SHA-256.

If only the hash of a file's decompressed content is known, the file is decompressed and the hash checked before parsing.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stacked.data.formats.dataset import Official
from stacked.data.formats.files import corrupt
from stacked.data.formats.split import Split
from stacked.util.errors import InputError
from stacked.util.reading import content_of

if TYPE_CHECKING:
    from importlib.abc import Traversable

    from numpy.typing import NDArray

MOST = 1 << 28
"""The most bytes that a file may decompress to; the largest of the MNIST family has 47,040,016."""

STEMS = tuple(f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))


@dataclass(frozen=True)
class IdxFolder:
    """The four files of a dataset, each NAME.gz or plain NAME.

    sha256: hex digests by file name: under NAME that of the decompressed content, or under NAME.gz that of the compressed
    file; in the latter case a plain file is ignored. remedy: the end of the error message for an invalid file.
    """

    folder: Traversable
    sha256: Mapping[str, str]
    remedy: str

    def complete(self) -> bool:
        """Whether all four files exist; raises InputError if the folder cannot be read."""
        try:
            return all(self._path(stem).is_file() for stem in STEMS)
        except OSError as error:
            raise InputError(f"{self.folder} cannot be read ({error.strerror}): make it readable") from error

    def read(self, classes: tuple[str, ...]) -> Official:
        """Return both splits, with images [N, 1, H, W] and labels [N]; InputError naming the file that is invalid."""
        train, test = self._split("train", len(classes)), self._split("t10k", len(classes))
        if train.inputs.shape[1:] != test.inputs.shape[1:]:
            sizes = " but ".join(" x ".join(map(str, part.inputs.shape[2:])) for part in (train, test))
            raise InputError(f"{self.folder} has images of {sizes} pixels in its train and t10k files: {self.remedy}")
        return Official(train, test, classes)

    def _split(self, part: str, classes: int) -> Split:
        import torch

        images = self._array(f"{part}-images-idx3-ubyte", dimensions=3)
        labels = self._array(f"{part}-labels-idx1-ubyte", dimensions=1)
        if len(images) != len(labels):
            counts = f"{len(images)} images but {len(labels)} labels"
            raise InputError(f"{self.folder} has {counts} in its {part} files: {self.remedy}")
        if not images.size:
            shape = " x ".join(map(str, images.shape))
            raise InputError(f"{self.folder} has no pixels ({shape}) in its {part} files: {self.remedy}")
        if labels.max() >= classes:
            raise InputError(
                f"{self.folder} has a label {labels.max()} in its {part} files, and labels are 0 to {classes - 1}: "
                f"{self.remedy}"
            )
        return Split(torch.from_numpy(images)[:, None], torch.from_numpy(labels.astype(np.int64)))

    def _array(self, stem: str, dimensions: int) -> NDArray[np.uint8]:
        path = self._path(stem)
        compressed = path.name != stem
        try:
            content = content_of(path) if isinstance(path, Path) else path.read_bytes()
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}): {self.remedy}") from error
        if compressed:
            self._check(path, content, self.sha256.get(path.name), "")
            try:
                content = gzip.GzipFile(fileobj=io.BytesIO(content)).read(MOST + 1)
            except (OSError, EOFError, zlib.error) as error:
                raise corrupt(path, self._expected(stem), self.remedy) from error
            if len(content) > MOST:
                raise InputError(
                    f"{path} decompresses to more than {MOST:,} bytes, which no file of this kind does: {self.remedy}"
                )
        self._check(path, content, self.sha256.get(stem), " of the decompressed bytes" if compressed else "")
        array = parse(content, dimensions)
        if array is None:
            raise corrupt(path, self._expected(stem), self.remedy)
        return array

    def _path(self, stem: str) -> Traversable:
        compressed = self.folder / f"{stem}.gz"
        return compressed if compressed.is_file() or compressed.name in self.sha256 else self.folder / stem

    def _check(self, path: Traversable, data: bytes, sha256: str | None, of_what: str) -> None:
        if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
            raise corrupt(path, f"SHA-256 {sha256}{of_what}", self.remedy)

    def _expected(self, stem: str) -> str:
        known = self.sha256.get(stem)
        return f"SHA-256 {known} of the decompressed bytes" if known else "a complete IDX file of unsigned bytes"


def parse(content: bytes, dimensions: int) -> NDArray[np.uint8] | None:
    """Return the unsigned-byte array in the bytes of an IDX file, or None if its type, rank or length is wrong."""
    header = 4 + 4 * dimensions
    if content[:4] != bytes((0, 0, 8, dimensions)) or len(content) < header:
        return None
    shape = tuple(int.from_bytes(content[i : i + 4], "big") for i in range(4, header, 4))
    if len(content) - header != math.prod(shape):
        return None
    # copied because an array over `bytes` is read-only, which torch does not support
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape).copy()
