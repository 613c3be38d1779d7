"""Datasets that torchvision can fetch: small files in their real formats, verified, missing, corrupt.

The published files are not at hand in a test, so the hashes that are expected are exchanged for those of
small files (`monkeypatch`); that hashes are compared, and before anything is unpickled, is what the tests hold.
"""

from __future__ import annotations

import gzip
import hashlib
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.datasets

from stacked import data
from stacked.data import cifar10, fashion_mnist, kmnist
from stacked.data.idx import STEMS
from stacked.errors import InputError

RNG = np.random.default_rng(0)


def idx_bytes(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


# Fashion-MNIST


debian = pytest.mark.skipif(
    not fashion_mnist.DEBIAN.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed"
)


@pytest.fixture
def no_debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "not installed")


@debian
def test_fashion_mnist_is_found_where_debian_puts_it(tmp_path: Path) -> None:
    splits = data.load("fashion-mnist", data_dir=tmp_path)
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (55_000, 5_000, 10_000)
    assert splits.image_shape == (1, 28, 28)
    assert splits.classes[9] == "Ankle boot"
    assert splits.test.labels[:5].tolist() == [9, 2, 1, 1, 6]
    assert splits.train.labels.bincount().tolist() == [5_500] * 10


@debian
@pytest.mark.usefixtures("no_debian")
def test_fashion_mnist_is_found_where_torchvision_puts_it_and_a_corrupt_file_is_named(tmp_path: Path) -> None:
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
        f"fashion-mnist is not complete at {tmp_path}/FashionMNIST/raw: run again with --download, or give "
        "the folder that holds FashionMNIST/raw with --data-dir (or the environment variable STACKED_DATA), "
        "or install Debian's package dataset-fashion-mnist"
    )


# KMNIST


@pytest.fixture
def small_kmnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "KMNIST" / "raw"
    folder.mkdir(parents=True)
    hashes = {}
    for stem in STEMS:
        n = 60 if stem.startswith("train") else 20
        array = RNG.integers(0, 256, (n, 28, 28)) if "images" in stem else np.arange(n) % 10
        content = gzip.compress(idx_bytes(array.astype(np.uint8)))
        (folder / f"{stem}.gz").write_bytes(content)
        hashes[f"{stem}.gz"] = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(kmnist, "SHA256", hashes)
    return folder


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


def test_kmnist_unpacked_is_checked_by_its_format(small_kmnist: Path) -> None:
    for path in list(small_kmnist.iterdir()):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    assert len(data.load("kmnist", data_dir=small_kmnist.parents[1], valid=1 / 6).train) == 50
    path = small_kmnist / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"train-images-idx3-ubyte is corrupt .* complete IDX file"):
        data.load("kmnist", data_dir=small_kmnist.parents[1])


# CIFAR-10


class Bomb:
    """An object whose unpickling leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


@pytest.fixture
def small_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Seven small files as in cifar-10-python.tar.gz, which all hashes are made to expect."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    classes = [f"class {i}" for i in range(10)]
    contents = {"batches.meta": pickle.dumps({"label_names": classes}, protocol=2)}
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        pixels = RNG.integers(0, 256, (20, 3072), dtype=np.uint8)
        contents[name] = pickle.dumps({"data": pixels, "labels": [i % 10 for i in range(20)]}, protocol=2)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    monkeypatch.setattr(
        cifar10, "SHA256", {name: hashlib.sha256(contents[name]).hexdigest() for name in cifar10.SHA256}
    )
    published = torchvision.datasets.CIFAR10
    monkeypatch.setattr(published, "train_list", [(n, md5(contents[n])) for n, _ in published.train_list])
    monkeypatch.setattr(published, "test_list", [(n, md5(contents[n])) for n, _ in published.test_list])
    monkeypatch.setattr(published, "meta", {**published.meta, "md5": md5(contents["batches.meta"])})
    return folder


def test_cifar10_is_read_in_its_channel_order(small_cifar: Path) -> None:
    splits = data.load("cifar10", data_dir=small_cifar.parent, valid=0.2)
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (80, 20, 20)
    assert splits.image_shape == (3, 32, 32)
    assert splits.classes == tuple(f"class {i}" for i in range(10))
    stored = pickle.loads((small_cifar / "test_batch").read_bytes())["data"]
    assert torch.equal(splits.test.images, torch.from_numpy(stored).reshape(20, 3, 32, 32))
    assert splits.test.images.is_contiguous()
    assert splits.test.labels.tolist() == [*range(10)] * 2


@pytest.mark.parametrize("name", list(cifar10.SHA256))
def test_no_unknown_pickle_of_cifar10_is_opened(small_cifar: Path, tmp_path: Path, name: str) -> None:
    trace = tmp_path / "opened"
    (small_cifar / name).write_bytes(pickle.dumps(Bomb(trace)))
    with pytest.raises(InputError) as error:
        data.load("cifar10", data_dir=small_cifar.parent)
    assert str(error.value) == (
        f"{small_cifar / name} is corrupt or truncated (expected SHA-256 {cifar10.SHA256[name]}): delete it "
        "and run again with --download"
    )
    assert not trace.exists()
    pickle.loads(pickle.dumps(Bomb(trace)))
    assert trace.exists()


# STL-10


@pytest.fixture
def small_stl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    labels = np.array([*range(1, 11)] * 2, dtype=np.uint8)
    contents = {"train_y.bin": labels.tobytes(), "test_y.bin": labels[::-1].tobytes()}
    for name, count in (("train_X.bin", 20), ("test_X.bin", 20), ("unlabeled_X.bin", 30)):
        contents[name] = RNG.integers(0, 256, (count, 3, 96, 96), dtype=np.uint8).tobytes()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    published = torchvision.datasets.STL10
    for attribute in ("train_list", "test_list"):
        listed = [[name, md5(contents[name])] for name, _ in getattr(published, attribute)]
        monkeypatch.setattr(published, attribute, listed)
    return folder


def test_stl10_is_what_torchvision_reads(small_stl: Path) -> None:
    splits = data.load("stl10", data_dir=small_stl.parent, valid=0.5)
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (10, 10, 20)
    assert splits.image_shape == (3, 96, 96)
    theirs = torchvision.datasets.STL10(str(small_stl.parent), split="test")
    assert torch.equal(splits.test.images, torch.from_numpy(np.ascontiguousarray(theirs.data)))
    assert splits.test.labels.tolist() == theirs.labels.tolist() == [*range(9, -1, -1)] * 2


def test_stl10_needs_no_unlabelled_images(small_stl: Path) -> None:
    (small_stl / "unlabeled_X.bin").unlink()
    data.load("stl10", data_dir=small_stl.parent, valid=0.5)
    with pytest.raises(InputError, match=r"^stl10\+unlabelled is not complete at "):
        data.load("stl10+unlabelled", data_dir=small_stl.parent)


def test_stl10_with_its_unlabelled_images_holds_out_labelled_ones(small_stl: Path) -> None:
    splits = data.load("stl10+unlabelled", data_dir=small_stl.parent, valid=0.5)
    assert (len(splits.train), len(splits.valid)) == (40, 10)
    assert sorted(splits.train.labels[:10].tolist()) == [*range(10)]
    assert (splits.train.labels[10:] == -1).all()
    assert sorted(splits.valid.labels.tolist()) == [*range(10)]
    theirs = torchvision.datasets.STL10(str(small_stl.parent), split="unlabeled")
    assert torch.equal(splits.train.images[10:], torch.from_numpy(np.ascontiguousarray(theirs.data)))


def test_a_corrupt_file_of_stl10_is_named_with_its_md5(small_stl: Path) -> None:
    path = small_stl / "test_X.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError) as error:
        data.load("stl10", data_dir=small_stl.parent)
    expected = dict(torchvision.datasets.STL10.test_list)["test_X.bin"]
    assert str(error.value) == (
        f"{path} is corrupt or truncated (expected MD5 {expected}): delete it and run again with --download"
    )


# Missing and fetched

FOLDERS = {
    "cifar10": ("CIFAR10", "cifar-10-batches-py"),
    "fashion-mnist": ("FashionMNIST", "FashionMNIST/raw"),
    "kmnist": ("KMNIST", "KMNIST/raw"),
    "stl10": ("STL10", "stl10_binary"),
    "stl10+unlabelled": ("STL10", "stl10_binary"),
}


@pytest.mark.usefixtures("no_debian")
@pytest.mark.parametrize("name", FOLDERS)
def test_missing_files_say_how_to_get_them(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = tmp_path / "nothing"
    begin = f"{name} is not complete at {nothing}/{FOLDERS[name][1]}: run again with --download"
    with pytest.raises(InputError) as by_argument:
        data.load(name, data_dir=nothing)
    monkeypatch.setenv("STACKED_DATA", str(nothing))
    with pytest.raises(InputError) as by_environment:
        data.load(name)
    assert str(by_argument.value) == str(by_environment.value)
    assert str(by_argument.value).startswith(begin)
    assert not nothing.exists()
    monkeypatch.delenv("STACKED_DATA")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(InputError, match=f"at {tmp_path}/.cache/stacked/{FOLDERS[name][1]}:"):
        data.load(name)


@pytest.mark.usefixtures("no_debian")
@pytest.mark.parametrize("name", FOLDERS)
def test_a_failed_download_is_told_in_one_sentence(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*arguments: object, **options: object) -> None:
        raise OSError("network\nis unreachable")

    published = getattr(torchvision.datasets, FOLDERS[name][0])
    monkeypatch.setattr(published, "download", unreachable)
    with pytest.raises(InputError) as error:
        data.load(name, data_dir=tmp_path, download=True)
    assert str(error.value) == (
        f"{name} could not be downloaded to {tmp_path} (network is unreachable): check the network, the free "
        "space and that the folder is writable, then run again"
    )


def test_what_is_fetched_is_read_and_what_is_there_is_not_fetched(
    small_kmnist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aside = small_kmnist.rename(small_kmnist.parents[1] / "aside")
    fetched = []

    def fetch(self: torchvision.datasets.KMNIST) -> None:
        fetched.append(self.root)
        shutil.copytree(aside, self.raw_folder)
        for path in list(aside.iterdir()):
            (Path(self.raw_folder) / path.stem).write_bytes(gzip.decompress(path.read_bytes()))

    monkeypatch.setattr(torchvision.datasets.KMNIST, "download", fetch)
    for _ in range(2):
        splits = data.load("kmnist", data_dir=aside.parent, download=True, valid=1 / 6)
        assert len(splits.test) == 20
    assert fetched == [str(aside.parent)]
