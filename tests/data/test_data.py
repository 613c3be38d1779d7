"""Splits of the datasets that need no network: what is in them, and what is refused."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from stacked import data
from stacked.data import Split, Splits
from stacked.data.formats.dataset import Source
from stacked.data.formats.division import MOVED, division
from stacked.data.formats.idx import STEMS, IdxFolder, parse
from stacked.data.formats.split import hold_out
from stacked.data.sources.images import mnist
from stacked.util.checks import MOST_NAMES
from stacked.util.errors import InputError

#: datasets that specs of records name, and so must not be lost; all that there are: data.names()
KEPT = {
    "cifar10",
    "digits",
    "fashion-mnist",
    "folder:PATH",
    "kmnist",
    "mnist",
    "photographs",
    "stl10",
    "stl10+unlabelled",
}
NOWHERE = Source(Path("/nowhere"))


@pytest.fixture(scope="module")
def splits() -> Splits:
    return data.load("mnist")


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the bundled files, in their place."""
    for stem in STEMS:
        (tmp_path / f"{stem}.gz").write_bytes((mnist.bundled() / f"{stem}.gz").read_bytes())
    monkeypatch.setattr(mnist, "bundled", lambda: tmp_path)
    return tmp_path


def rows(split: Split) -> set[bytes]:
    return {hashlib.sha256(image.numpy().tobytes()).digest() for image in split.inputs}


# Names


def test_names_are_those_of_the_modules() -> None:
    assert set(data.names()) >= KEPT
    assert data.names() == tuple(sorted(data.names()))


def test_listing_and_checking_names_imports_no_torch() -> None:
    code = (
        "import sys; from stacked import data; data.names(); data.check_name('folder:nowhere'); "
        "assert not {'torch', 'torchvision', 'sklearn', 'PIL'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("dataset", data._datasets().values(), ids=data.names())
def test_every_dataset_documents_itself_and_its_loading(dataset: type) -> None:
    assert dataset.__doc__
    loading = getattr(dataset, "load", None) or dataset.splits  # type: ignore[attr-defined]
    assert loading.__doc__


@pytest.mark.parametrize("name", [name.replace("PATH", "images") for name in data.names()])
def test_known_names_pass_without_any_file(name: str) -> None:
    data.check_name(name)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("mnit", "; did you mean 'mnist'?"),
        ("MNIST", "; did you mean 'mnist'?"),
        ("stl10+unlabeled", "; did you mean 'stl10+unlabelled'?"),
        ("folder", "; did you mean 'folder:PATH'?"),
        ("folder:", "; did you mean 'folder:PATH'?"),
        ("fodler:/a/very/long/path/of/images", "; did you mean 'folder:PATH'?"),
        ("mnist:images", "; did you mean 'mnist'?"),
        ("imagenet", ""),
        ("", ""),
    ],
)
def test_an_unknown_name_lists_those_allowed_and_the_nearest(name: str, hint: str) -> None:
    for use in (data.check_name, data.load):
        with pytest.raises(InputError) as error:
            use(name)
        first, others = ", ".join(data.names()[:MOST_NAMES]), len(data.names()) - MOST_NAMES
        start = f"{hint} Choose from" if hint else ": choose from"
        assert str(error.value) == f"there is no dataset {name!r}{start} {first} and {others} others ('list' names all)"
    with pytest.raises(InputError) as error:
        data.check_name("list")
    assert str(error.value) == f"there is no dataset 'list': choose from {', '.join(data.names())}"


# MNIST


def test_mnist_has_its_official_images_and_labels(splits: Splits) -> None:
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (55_000, 5_000, 10_000)
    assert splits.input_shape == (1, 28, 28)
    assert splits.classes == tuple("0123456789")
    assert splits.name == "mnist"
    for split in (splits.train, splits.valid, splits.test):
        assert split.inputs.dtype == torch.uint8
        assert split.inputs.is_contiguous()
        assert split.labels.dtype == torch.int64
    official = mnist.Mnist().load(NOWHERE)
    assert official.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert official.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    content = gzip.decompress((mnist.bundled() / "train-images-idx3-ubyte.gz").read_bytes())
    assert official.train.inputs.numpy().tobytes() == content[16:]


def test_train_and_valid_are_the_official_training_set_divided(splits: Splits) -> None:
    official = mnist.Mnist().load(NOWHERE).train
    train, valid = rows(splits.train), rows(splits.valid)
    assert len(train) == 55_000  # MNIST has no two equal training images
    assert len(valid) == 5_000
    assert not train & valid
    assert train | valid == rows(official)
    assert not (train | valid) & rows(splits.test)


def test_labels_stay_with_their_images(splits: Splits) -> None:
    official = mnist.Mnist().load(NOWHERE).train
    label = {image.numpy().tobytes(): int(y) for image, y in zip(official.inputs, official.labels, strict=True)}
    for split in (splits.train, splits.valid):
        for image, y in zip(split.inputs[::97], split.labels[::97], strict=True):
            assert label[image.numpy().tobytes()] == y


def test_valid_is_stratified(splits: Splits) -> None:
    whole = torch.cat([splits.train.labels, splits.valid.labels]).bincount()
    assert (splits.valid.labels.bincount() - whole / 12).abs().max() < 1


def test_the_splits_are_always_the_same(splits: Splits) -> None:
    torch.manual_seed(1)
    np.random.seed(1)  # neither global generator may matter
    again = data.load("mnist")
    assert again.digest == splits.digest
    assert splits.digest == "dd1906bbe92bae394f675c1fd8896d6db387f9bd7d1f76094c1d6220269380f9"


def test_the_digest_sees_every_split_its_images_and_its_labels() -> None:
    def build(change: Callable[[list[torch.Tensor]], None]) -> str:
        tensors = [torch.zeros(4, 1, 2, 3, dtype=torch.uint8) for _ in range(3)]
        tensors += [torch.zeros(4, dtype=torch.int64) for _ in range(3)]
        change(tensors)
        train, valid, test = (Split(x, y) for x, y in zip(tensors[:3], tensors[3:], strict=True))
        return Splits("x", train, valid, test, ()).digest

    def bump(position: int) -> Callable[[list[torch.Tensor]], None]:
        return lambda tensors: tensors[position].view(-1)[-1:].add_(1) and None

    def reshape(tensors: list[torch.Tensor]) -> None:
        tensors[0] = tensors[0].reshape(4, 1, 3, 2)

    digests = [build(lambda tensors: None), build(reshape), *(build(bump(i)) for i in range(6))]
    assert len(set(digests)) == 8
    assert digests[0] == build(lambda tensors: None)


# Corrupt files


def damaged(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[: len(data) // 2], id="truncated"),
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: b"not gzip", id="not gzip"),
        pytest.param(lambda data: data[:500] + bytes([data[500] ^ 8]) + data[501:], id="bit flipped"),
        pytest.param(lambda data: gzip.compress(damaged(gzip.decompress(data)), 0), id="other content"),
    ],
)
def test_a_corrupt_bundled_file_is_named_with_its_hash(
    bundle: Path, stem: str, damage: Callable[[bytes], bytes]
) -> None:
    path = bundle / f"{stem}.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError) as error:
        data.load("mnist")
    assert str(error.value) == (
        f"{path} is corrupt or truncated (expected SHA-256 {mnist.SHA256[stem]} of the decompressed bytes): "
        "reinstall the package"
    )


def test_a_bundled_file_compressed_anew_is_as_good(bundle: Path, splits: Splits) -> None:
    stem = "t10k-labels-idx1-ubyte"
    content = gzip.decompress((bundle / f"{stem}.gz").read_bytes())
    (bundle / f"{stem}.gz").unlink()
    (bundle / stem).write_bytes(content)
    assert torch.equal(data.load("mnist").test.labels, splits.test.labels)


def test_an_idx_file_is_read_strictly() -> None:
    good = bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9])
    array = parse(good, 1)
    assert array is not None
    assert array.tolist() == [7, 8, 9]
    for bad in (good[:-1], good + b"\0", good[:6], b"", b"\0\0\x0d\1" + good[4:], b"\1" + good[1:]):
        assert parse(bad, 1) is None
    assert parse(good, 3) is None
    assert parse(bytes([0, 0, 8, 3]) + b"\xff" * 12, 3) is None  # a size beyond any integer type


def test_counts_of_images_and_labels_must_agree(tmp_path: Path) -> None:
    for part in ("train", "t10k"):
        images = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 5, 6])
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(images)
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 1, 5]))
    with pytest.raises(InputError, match="has 2 images but 1 labels in its train files: get it again"):
        IdxFolder(tmp_path, {}, "get it again").read(())


# Digits


def test_digits_are_scaled_to_bytes_and_a_stratified_sixth_is_the_test_set() -> None:
    from sklearn.datasets import load_digits

    splits = data.load("digits")
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (1372, 125, 300)
    assert splits.input_shape == (1, 8, 8)
    assert set(splits.test.inputs.unique().tolist()) == {round(v * 255 / 16) for v in range(17)}
    together = sorted(
        image.numpy().tobytes() for part in (splits.train, splits.valid, splits.test) for image in part.inputs
    )
    raw = load_digits()
    assert together == sorted(bytes(round(v * 255 / 16) for v in image.flatten()) for image in raw.images)
    assert np.abs(np.bincount(splits.test.labels) - np.bincount(raw.target) / 6).max() < 1


# Options


def test_limit_is_stratified_nested_and_leaves_valid_and_test_alone(splits: Splits) -> None:
    small, large = data.load("mnist", limit=100), data.load("mnist", limit=1_000)
    assert small.train.labels.bincount().tolist() == [10] * 10
    assert large.train.labels.bincount().tolist() == [100] * 10
    assert rows(small.train) < rows(large.train) < rows(splits.train)
    for limited in (small, large):
        for part in ("valid", "test"):
            assert torch.equal(getattr(limited, part).inputs, getattr(splits, part).inputs)
            assert torch.equal(getattr(limited, part).labels, getattr(splits, part).labels)
    assert torch.equal(data.load("mnist", limit=55_000).train.inputs, splits.train.inputs)


def test_valid_may_be_another_part() -> None:
    splits = data.load("digits", valid=0.5)
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (749, 748, 300)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "limit=0 is not a number of training images: give 1 or more, or leave it out"),
        ({"limit": -3}, "limit=-3 is not a number of training images: give 1 or more, or leave it out"),
        (
            {"limit": 9},
            "limit=9 does not fit 1372 training images in 10 classes (validation and test images are already set aside): "
            "choose a number from 10 to 1372",
        ),
        (
            {"limit": 1373},
            "limit=1373 does not fit 1372 training images in 10 classes (validation and test images are already set "
            "aside): choose a number from 10 to 1372",
        ),
        ({"valid": 0}, "valid=0 is not a fraction of the training set: give a number between 0 and 1, exclusive"),
        ({"valid": 1.0}, "valid=1.0 is not a fraction of the training set: give a number between 0 and 1, exclusive"),
        (
            {"valid": float("nan")},
            "valid=nan is not a fraction of the training set: give a number between 0 and 1, exclusive",
        ),
        (
            {"valid": 0.999},
            "1497 examples (145 in the rarest of 10 classes) are too few to hold out 0.999 of them and have "
            "every class on both sides: add examples or hold out another part",
        ),
        ({"image_size": 0}, "image_size=0 is not a size in pixels: give 1 or more"),
        ({"grey": True}, "grey does not apply to 'digits', whose number of channels is fixed: leave it out"),
    ],
)
def test_an_option_outside_its_range_is_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError) as error:
        data.load("digits", **options)  # type: ignore[arg-type]
    assert str(error.value) == message


# The parts


def test_a_split_refuses_what_would_be_silently_wrong() -> None:
    images, labels = torch.zeros(3, 1, 4, 4, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64)
    Split(images, labels)
    for bad in (images.double(), images.int(), images.transpose(2, 3)[:, :, 1:]):
        with pytest.raises(TypeError, match="inputs must be contiguous uint8 or float32"):
            Split(bad, labels)
    with pytest.raises(InputError, match="cannot be a split: give uint8 or floats: vectors"):
        Split(torch.zeros(3), labels)
    for wrong in (labels.int(), labels[:2], labels[:, None]):
        with pytest.raises(TypeError, match="labels must be int64"):
            Split(images, wrong)


def numbered(labels: list[int]) -> Split:
    return Split(
        torch.arange(len(labels), dtype=torch.uint8).reshape(-1, 1, 1, 1),
        torch.tensor(labels, dtype=torch.int64),
    )


def test_small_data_still_give_every_class_to_both_sides() -> None:
    rest, held = hold_out(numbered([0, 0, 1, 1, 2, 2]), 0.01)
    assert rest.labels.tolist() == held.labels.tolist() == [0, 1, 2]
    assert sorted([*rest.inputs.flatten().tolist(), *held.inputs.flatten().tolist()]) == list(range(6))


def test_without_labels_a_plain_slice_is_held_out() -> None:
    rest, held = hold_out(numbered([-1] * 60), 0.25)
    assert (len(rest), len(held)) == (45, 15)
    assert held.inputs.flatten().tolist() != list(range(15))
    assert not set(rest.inputs.flatten().tolist()) & set(held.inputs.flatten().tolist())


def test_with_some_labels_the_slice_comes_from_the_labelled_part() -> None:
    rest, held = hold_out(numbered([0, 1] * 10 + [-1] * 80), 0.2)
    assert held.labels.bincount().tolist() == [2, 2]
    assert (rest.labels == -1).sum() == 80


def test_both_parts_share_memory_and_keep_their_order() -> None:
    n = 3 * MOVED + 100
    labels = torch.randint(0, 3, (n,))
    images = torch.randint(0, 256, (n, 1, 2, 2), dtype=torch.uint8)
    split = Split(images.clone(), labels.clone())
    places = [torch.from_numpy(part) for part in division(labels.numpy(), 0.3)]
    parts = hold_out(split, 0.3)
    for part, place in zip(parts, places, strict=True):
        assert torch.equal(part.inputs, images[place])
        assert torch.equal(part.labels, labels[place])
        assert part.inputs.untyped_storage().data_ptr() == split.inputs.untyped_storage().data_ptr()
    assert sum(map(len, parts)) == n


@pytest.mark.parametrize("labels", [[], [-1], [0], [0, 0, 1]])
def test_too_few_examples_are_refused(labels: list[int]) -> None:
    with pytest.raises(InputError, match=r"are too few to hold out 0\.5 of them"):
        hold_out(numbered(labels), 0.5)


def test_images_whose_channels_are_last_are_refused_with_what_to_do() -> None:
    with pytest.raises(
        InputError,
        match=r"shape \[5, 32, 32, 3\] cannot be a split: .*permute\(0, 3, 1, 2\), or transpose in NumPy, puts them first",
    ):
        Split(torch.zeros(5, 32, 32, 3, dtype=torch.uint8), torch.zeros(5, dtype=torch.int64))
