"""What the tests of datasets share."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from stacked.data.formats.idx import STEMS
from stacked.data.sources.images import fashion_mnist, kmnist
from tests.helpers.idx import idx_bytes


@pytest.fixture
def no_debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without Debian's package of Fashion-MNIST."""
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "not installed")


@pytest.fixture
def small_kmnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a KMNIST of 60 and 20 images, whose hashes are taken for the published ones."""
    folder = tmp_path / "KMNIST" / "raw"
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    digests = {}
    for stem in STEMS:
        n = 60 if stem.startswith("train") else 20
        array = random.integers(0, 256, (n, 28, 28)) if "images" in stem else np.arange(n) % 10
        content = gzip.compress(idx_bytes(array.astype(np.uint8)))
        (folder / f"{stem}.gz").write_bytes(content)
        digests[f"{stem}.gz"] = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(kmnist, "SHA256", digests)
    return folder
