"""Data in .amat files: small files made here, in the format of the published ones."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from stacked import data
from stacked.data.sources.tables import amat
from stacked.util.errors import InputError

Numbers = NDArray[np.float64]


def numbers(n: int, classes: int = 3, seed: int = 0) -> Numbers:
    """Lines of multiples of 1/255 and a label."""
    random = np.random.default_rng(seed)
    return np.hstack([random.integers(0, 256, (n, 784)) / 255, np.arange(n)[:, None] % classes])


def write(path: Path, values: Numbers, form: str = "%.9f") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, values, fmt=form)
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder of one set, whose test file lies deeper, as that of convex does."""
    write(tmp_path / "sets" / "convex_train.amat", numbers(30))
    write(tmp_path / "sets" / "50k" / "convex_test.amat", numbers(12, seed=1))
    return tmp_path


def refusal(home: Path, name: str = "amat:sets", **more: float) -> str:
    with pytest.raises(InputError) as error:
        data.load(name, data_dir=home, **more)  # type: ignore[arg-type]
    return str(error.value)


@pytest.mark.parametrize("name", ["amat:sets", "amat:sets/convex_train.amat"])
@pytest.mark.parametrize("form", ["%.9f", "%.7e"])
def test_images_and_labels_are_those_of_the_lines_in_their_order(name: str, form: str, home: Path) -> None:
    made = numbers(30)
    write(home / "sets" / "convex_train.amat", made, form)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is lost
        splits = data.load(name, data_dir=home, valid=0.1)
    assert splits.name == name
    assert splits.input_shape == (1, 28, 28)
    assert splits.classes == ("0", "1", "2")
    test = numbers(12, seed=1)
    assert torch.equal(splits.test.inputs.flatten(1), torch.from_numpy((255 * test[:, :-1]).round().astype(np.uint8)))
    assert torch.equal(splits.test.labels, torch.arange(12) % 3)
    assert splits.test.inputs[0, 0, 0, 1] == round(255 * test[0, 1])  # row by row
    assert (len(splits.train), len(splits.valid)) == (27, 3)
    rows = {image.numpy().tobytes() for part in (splits.train, splits.valid) for image in part.inputs}
    assert rows == {image.tobytes() for image in (255 * made[:, :-1]).round().astype(np.uint8)}


def test_the_last_lines_of_a_published_size_are_the_validation_set(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert amat.VALIDATION == {12_000: 2_000, 8_000: 2_000, 1_200: 200}
    monkeypatch.setattr(amat, "VALIDATION", {30: 10})
    splits, made = data.load("amat:sets", data_dir=home, limit=15), numbers(30)
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (15, 10, 12)
    assert torch.equal(
        splits.valid.inputs.flatten(1), torch.from_numpy((255 * made[20:, :-1]).round().astype(np.uint8))
    )
    assert torch.equal(splits.valid.labels, torch.from_numpy(made[20:, -1]).long())
    assert refusal(home, valid=0.2) == (
        "valid=0.2 does not apply to 'amat:sets', which has its own validation set: leave it out"
    )


def test_a_file_of_1200_lines_keeps_1000_and_200(home: Path) -> None:
    """More lines than are read at a time."""
    write(home / "sets" / "convex_train.amat", numbers(1200, 2), "%.7f")
    write(home / "sets" / "50k" / "convex_test.amat", numbers(5, 2), "%.7f")
    splits, made = data.load("amat:sets", data_dir=home), numbers(1200, 2)
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (1000, 200, 5)
    images = torch.cat([splits.train.inputs, splits.valid.inputs]).flatten(1)
    assert torch.equal(images, torch.from_numpy((255 * made[:, :-1]).round().astype(np.uint8)))


def test_what_rounding_changes_is_told(home: Path) -> None:
    values = numbers(30)
    values[:, :-1] = 0.0
    values[4, 7] = 0.5  # between 127 and 128 of 255
    write(home / "sets" / "convex_train.amat", values)
    with pytest.warns(
        UserWarning, match=r"convex_train\.amat are not multiples of 1/255: .* by up to 0\.002, by 8\.3e-08 on av"
    ):
        splits = data.load("amat:sets", data_dir=home)
    pixels = torch.cat([splits.train.inputs, splits.valid.inputs]).flatten()
    assert pixels[pixels > 0].tolist() in ([127], [128])


def changed(home: Path, line: int, old: str, new: str) -> str:
    """What is said when a line of the training file, of zeros with label 1, has `new` for its first `old`."""
    path = home / "sets" / "convex_train.amat"
    lines = [" ".join(["0"] * 784 + ["1"])] * 1500
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    path.write_text("\n".join(lines) + "\n")
    return refusal(home).replace(str(path), "FILE")


@pytest.mark.parametrize(
    ("line", "old", "new", "said"),
    [
        (3, "0", "x", "line 3, column 1 of FILE is 'x': give a number"),
        (1403, "0 0 0", "0 0 0_1", "line 1403, column 3 of FILE is '0_1': give a number"),
        (3, "0", "1.5", "line 3, column 1 of FILE is 1.5: give values from 0 to 1"),
        (1003, "0 0", "0 -0.1", "line 1003, column 2 of FILE is -0.1: give values from 0 to 1"),
        (2, "0 0", "0 nan", "line 2, column 2 of FILE is nan: give values from 0 to 1"),
        (
            2,
            " 1",
            " 1.5",
            "line 2, column 785 of FILE is 1.5: give a label, a whole number from 0 to 999, in the last column",
        ),
        (
            2,
            " 1",
            " -1",
            "line 2, column 785 of FILE is -1: give a label, a whole number from 0 to 999, in the last column",
        ),
        (
            2,
            " 1",
            " 1e9",
            "line 2, column 785 of FILE is 1e9: give a label, a whole number from 0 to 999, in the last column",
        ),
        (7, "0 ", "", "line 7 of FILE has 784 columns: give 785, 784 pixels of 28 x 28 and the label"),
        (7, "0", "0\n0", "line 7 of FILE has 1 columns: give 785, 784 pixels of 28 x 28 and the label"),
        (9, "0", "\n0", "line 9 of FILE has 0 columns: give 785, 784 pixels of 28 x 28 and the label"),
        (9, "0", "0 " * 60_000, "line 9 of FILE has more than 50,240 bytes: give 785 numbers a line"),
        (9, "0", "\u00e9", "line 9 of FILE is not text: give 785 numbers a line"),
    ],
)
def test_the_first_invalid_line_and_column_is_named(line: int, old: str, new: str, said: str, home: Path) -> None:
    assert changed(home, line, old, new) == said


def test_files_that_are_missing_or_ambiguous_are_named(home: Path) -> None:
    folder = home / "sets"
    assert refusal(home, "amat:none") == (
        f"amat:{home / 'none'} does not exist: give a folder with *_train*.amat and *_test.amat, or such a training file"
    )
    assert refusal(home, "amat:sets/50k/convex_test.amat") == (
        f"amat:{folder / '50k' / 'convex_test.amat'} is not the name of a training file: give *_train*.amat, or its folder"
    )
    write(folder / "rectangles_train.amat", numbers(3))
    assert refusal(home) == (
        f"{folder} holds 2 files *_train*.amat (convex_train.amat, rectangles_train.amat): give the training file of one set"
    )
    assert refusal(home, "amat:sets/rectangles_train.amat") == f"{folder} holds no rectangles_test.amat: add it"
    (folder / "rectangles_train.amat").rename(folder / "50k" / "convex_train_valid.amat.old")
    (folder / "convex_train.amat").write_text("")
    assert refusal(home) == f"{folder / 'convex_train.amat'} has no lines: give a file with an image in each"
    (folder / "convex_train.amat").unlink()
    assert refusal(home) == f"{folder} holds no *_train*.amat: add it"
    os.mkfifo(folder / "convex_train.amat")
    assert refusal(home) == f"{folder} holds no *_train*.amat: add it"


def test_a_test_label_that_training_lacks_is_named(home: Path) -> None:
    test = write(home / "sets" / "50k" / "convex_test.amat", numbers(12, 4))
    train = home / "sets" / "convex_train.amat"
    assert (
        refusal(home) == f"line 4 of {test} has the label 3, and {train} has none above 2: give files of one data set"
    )


def test_a_training_file_with_validation_lines_is_found_too(tmp_path: Path) -> None:
    """As the rotated digits are called."""
    write(tmp_path / "mnist_all_rotation_normalized_float_train_valid.amat", numbers(30))
    write(tmp_path / "mnist_all_rotation_normalized_float_test.amat", numbers(12))
    for name in ("amat:.", "amat:mnist_all_rotation_normalized_float_train_valid.amat"):
        assert len(data.load(name, data_dir=tmp_path).test) == 12


def test_what_is_for_folders_of_images_is_refused(home: Path) -> None:
    assert (
        refusal(home, grey=True)
        == "grey does not apply to 'amat:sets', whose number of channels is fixed: leave it out"
    )
    assert refusal(home, white_level=4095) == (
        "white_level does not apply to 'amat:sets', which is not a folder of images: leave it out"
    )
    assert refusal(home, "amat:/etc/sets").startswith(
        "amat:/etc/sets is not allowed, because a dataset's name is recorded"
    )
