"""Datasets that can be fetched, at hand: small files in their real formats, verified, and corrupt.

The published files are not at hand in a test, so the hashes that are expected are exchanged for those of
small files (`monkeypatch`); that hashes are compared, and before anything is parsed, is what the tests hold.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from stacked import data
from stacked.data.formats.files import read_archive
from stacked.data.sources.images import cifar10, fashion_mnist, kmnist, stl10
from stacked.util.errors import InputError
from tests.helpers.idx import idx_bytes

RNG = np.random.default_rng(0)


def tar(path: Path, contents: dict[str, bytes]) -> str:
    """Write a .tar.gz file with these members, in this order; its SHA-256."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return hashlib.sha256(path.read_bytes()).hexdigest()


# Fashion-MNIST


debian = pytest.mark.skipif(
    not fashion_mnist.DEBIAN.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed"
)


@debian
def test_fashion_mnist_is_found_where_debian_puts_it(tmp_path: Path) -> None:
    splits = data.load("fashion-mnist", data_dir=tmp_path)
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (55_000, 5_000, 10_000)
    assert splits.input_shape == (1, 28, 28)
    assert splits.classes[9] == "Ankle boot"
    assert splits.test.labels[:5].tolist() == [9, 2, 1, 1, 6]
    assert splits.train.labels.bincount().tolist() == [5_500] * 10


@debian
@pytest.mark.usefixtures("no_debian")
def test_fashion_mnist_is_found_in_the_data_directory_and_a_corrupt_file_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "FashionMNIST" / "raw"
    shutil.copytree("/usr/share/datasets/fashion-mnist", folder)
    assert len(data.load("fashion-mnist", data_dir=tmp_path, limit=10).train) == 10

    path = folder / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError) as error:
        data.load("fashion-mnist", data_dir=tmp_path)
    assert str(error.value) == (
        f"{path} is corrupt or truncated (expected SHA-256 "
        f"{fashion_mnist.SHA256['t10k-labels-idx1-ubyte']} of the decompressed bytes): delete it and get it "
        "again with --download or from Debian's package dataset-fashion-mnist"
    )


@pytest.mark.usefixtures("no_debian")
def test_missing_fashion_mnist_names_all_ways_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        data.load("fashion-mnist", data_dir=tmp_path)
    assert str(error.value) == (
        f"fashion-mnist is missing or incomplete at {tmp_path}/FashionMNIST/raw: run again with --download, or give "
        "the folder that holds FashionMNIST/raw with --data-dir (or the environment variable STACKED_DATA), "
        "or install Debian's package dataset-fashion-mnist"
    )


# KMNIST


def test_kmnist_is_read_and_verified_compressed(small_kmnist: Path) -> None:
    splits = data.load("kmnist", data_dir=small_kmnist.parents[1], valid=1 / 6)
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (50, 10, 20)
    assert splits.test.labels.tolist() == [*range(10)] * 2
    assert splits.classes[1] == "ki"

    path = small_kmnist / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx_bytes(np.zeros((20, 28, 28), dtype=np.uint8))))
    with pytest.raises(InputError) as error:
        data.load("kmnist", data_dir=small_kmnist.parents[1])
    assert str(error.value) == (
        f"{path} is corrupt or truncated (expected SHA-256 {kmnist.SHA256[path.name]}): delete it and run "
        "again with --download"
    )


def test_kmnist_unpacked_has_no_published_hash_and_is_not_looked_at(small_kmnist: Path) -> None:
    for path in list(small_kmnist.iterdir()):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    with pytest.raises(InputError, match="kmnist is missing or incomplete"):
        data.load("kmnist", data_dir=small_kmnist.parents[1])


# CIFAR-10


@pytest.fixture
def small_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """The archive with 20 images a file, whose hash is made the one expected; its records of 3,073 bytes by file."""
    records = {}
    for name in (*cifar10.TRAIN, *cifar10.TEST):
        records[name] = RNG.integers(0, 256, (20, 3073), dtype=np.uint8)
        records[name][:, 0] = np.arange(20) % 10
    contents = {"cifar-10-batches-bin/batches.meta.txt": b"airplane\n"}
    contents |= {name: array.tobytes() for name, array in reversed(records.items())}
    monkeypatch.setattr(cifar10, "SHA256", tar(tmp_path / cifar10.ARCHIVE, contents))
    return records


def test_cifar10_is_read_in_its_channel_order(small_cifar: dict[str, np.ndarray], tmp_path: Path) -> None:
    splits = data.load("cifar10", data_dir=tmp_path, valid=0.2)
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (80, 20, 20)
    assert splits.input_shape == (3, 32, 32)
    assert splits.classes[1] == "automobile"
    stored = small_cifar[cifar10.TEST[0]]
    red = torch.from_numpy(stored[:, 1 : 1 + 1024].copy()).reshape(20, 32, 32)  # rows of the red channel come first
    assert torch.equal(splits.test.inputs[:, 0], red)
    assert splits.test.inputs[3, 2, 31, 31] == stored[3, -1]
    assert splits.test.inputs.is_contiguous()
    assert splits.test.labels.tolist() == [*range(10)] * 2
    first = small_cifar[cifar10.TRAIN[0]][:, 1:].reshape(20, 3, 32, 32)
    official = cifar10.Cifar10().load(data.Source(tmp_path))
    assert torch.equal(official.train.inputs[:20], torch.from_numpy(first.copy()))


@pytest.mark.usefixtures("small_cifar")
def test_a_changed_archive_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / cifar10.ARCHIVE
    tar(path, {name: bytes(3073) for name in (*cifar10.TRAIN, *cifar10.TEST)})
    monkeypatch.setattr(tarfile, "open", None)
    with pytest.raises(InputError) as error:
        data.load("cifar10", data_dir=tmp_path)
    assert str(error.value) == (
        f"{path} is corrupt or truncated (expected SHA-256 {cifar10.SHA256}): delete it and run again with --download"
    )


def test_an_archive_is_never_unpacked_onto_the_disk(tmp_path: Path) -> None:
    """Also not where its members have names that lead elsewhere."""
    folder = tmp_path / "data"
    folder.mkdir()
    digest = tar(folder / "a.tar.gz", {"../outside": b"1", "/tmp/absolute": b"2", "wanted": b"345"})
    found = read_archive(folder / "a.tar.gz", digest, ["wanted", "../outside"], "")
    assert {name: array.tobytes() for name, array in found.items()} == {"wanted": b"345", "../outside": b"1"}
    assert [path.name for path in tmp_path.rglob("*")] == ["data", "a.tar.gz"]
    with pytest.raises(InputError, match="expected an archive with missing"):
        read_archive(folder / "a.tar.gz", digest, ["wanted", "missing"], "get it again")


# STL-10


@pytest.fixture
def small_stl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """The archive, whose hash is made the one expected; its images by file, as they are stored."""
    images = {
        f"stl10_binary/{name}_X.bin": RNG.integers(0, 256, (count, 3, 96, 96), dtype=np.uint8)
        for name, count in (("test", 20), ("train", 20), ("unlabeled", 30))
    }
    labels = np.array([*range(1, 11)] * 2, dtype=np.uint8)
    contents = {name: array.tobytes() for name, array in images.items()}
    contents |= {"stl10_binary/train_y.bin": labels.tobytes(), "stl10_binary/test_y.bin": labels[::-1].tobytes()}
    monkeypatch.setattr(stl10, "SHA256", tar(tmp_path / stl10.ARCHIVE, contents))
    return images


def by_rows(images: np.ndarray) -> torch.Tensor:
    """Images that are stored by columns."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 1, 3, 2)))


def test_stl10_is_read_by_columns(small_stl: dict[str, np.ndarray], tmp_path: Path) -> None:
    splits = data.load("stl10", data_dir=tmp_path, valid=0.5)
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (10, 10, 20)
    assert splits.input_shape == (3, 96, 96)
    assert torch.equal(splits.test.inputs, by_rows(small_stl["stl10_binary/test_X.bin"]))
    assert splits.test.labels.tolist() == [*range(9, -1, -1)] * 2


def test_stl10_with_its_unlabelled_images_holds_out_labelled_ones(
    small_stl: dict[str, np.ndarray], tmp_path: Path
) -> None:
    splits = data.load("stl10+unlabelled", data_dir=tmp_path, valid=0.5)
    assert (len(splits.train), len(splits.valid)) == (40, 10)
    assert sorted(splits.train.labels[:10].tolist()) == [*range(10)]
    assert (splits.train.labels[10:] == -1).all()
    assert sorted(splits.valid.labels.tolist()) == [*range(10)]
    assert torch.equal(splits.train.inputs[10:], by_rows(small_stl["stl10_binary/unlabeled_X.bin"]))


@pytest.mark.usefixtures("small_stl")
def test_a_truncated_archive_of_stl10_is_named_with_its_hash(tmp_path: Path) -> None:
    path = tmp_path / stl10.ARCHIVE
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError) as error:
        data.load("stl10", data_dir=tmp_path)
    assert str(error.value) == (
        f"{path} is corrupt or truncated (expected SHA-256 {stl10.SHA256}): delete it and run again with --download"
    )
