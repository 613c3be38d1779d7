"""A user's own images: layouts of folders, and what is refused."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pandas as pd
import pytest
import torch

from stacked import data
from stacked.data import Splits, apart
from stacked.spec import DataSpec, RunSpec
from stacked.util.errors import InputError
from stacked.util.serialization import to_json
from studies.cli.command_line import parser
from studies.cli.options import options
from studies.statistics.rows import load_rows
from tests.helpers.folders import load, refusal
from tests.helpers.images import classes, flat, paint


def values(splits: Splits) -> list[tuple[int, int]]:
    """(first pixel, label) of every image of all splits, sorted."""
    parts = (splits.train, splits.valid, splits.test)
    return sorted((int(x[0, 0, 0]), int(y)) for s in parts for x, y in zip(s.inputs, s.labels, strict=True))


# Layouts


def test_class_folders(tmp_path: Path) -> None:
    splits = load(classes(tmp_path, 12, "b", "a", "Ç mit Leerzeichen"))
    assert splits.classes == ("a", "b", "Ç mit Leerzeichen")
    assert splits.input_shape == (3, 8, 8)
    assert splits.name == f"folder:{tmp_path.name}"
    assert [len(part) for part in (splits.train, splits.valid, splits.test)] == [27, 3, 6]
    for part in (splits.train, splits.valid, splits.test):
        assert part.labels.bincount().tolist() == [len(part) // 3] * 3
    first = {"b": 0, "a": 50, "Ç mit Leerzeichen": 100}
    expected = [(first[name] + i, label) for label, name in enumerate(splits.classes) for i in range(12)]
    assert values(splits) == sorted(expected)


def test_images_may_lie_deeper_in_their_class(tmp_path: Path) -> None:
    for i in range(6):
        paint(tmp_path / "a" / f"year {i % 2}" / f"{i}.png", i)
        paint(tmp_path / "b" / f"{i}.png", 100 + i)
    assert load(tmp_path).classes == ("a", "b")


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    for i in range(24):
        paint(tmp_path / f"{i}.png", i)
    splits = load(tmp_path)
    assert splits.classes == ()
    assert [len(part) for part in (splits.train, splits.valid, splits.test)] == [18, 2, 4]
    assert values(splits) == [(i, -1) for i in range(24)]
    assert len(load(tmp_path, limit=5).train) == 5


def test_train_and_test_are_taken_as_they_are(tmp_path: Path) -> None:
    classes(tmp_path / "train", 12, "a", "b")
    classes(tmp_path / "test", 2, "b", start=200)
    (tmp_path / "README.txt").write_text("not an image")
    splits = load(tmp_path)
    assert splits.classes == ("a", "b")
    assert [len(part) for part in (splits.train, splits.valid, splits.test)] == [22, 2, 2]
    assert splits.test.labels.tolist() == [1, 1]  # the label of "b" in train, though test has no "a"
    assert splits.test.inputs[:, 0, 0, 0].tolist() == [200, 201]


def test_train_and_test_without_classes(tmp_path: Path) -> None:
    for i in range(12):
        paint(tmp_path / "train" / f"{i}.png", i)
    paint(tmp_path / "test" / "x.png", 99)
    splits = load(tmp_path)
    assert splits.classes == ()
    assert [len(part) for part in (splits.train, splits.valid, splits.test)] == [11, 1, 1]


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    assert load(classes(tmp_path, 3, "bus", "train")).classes == ("bus", "train")


def test_three_images_a_class_are_enough(tmp_path: Path) -> None:
    splits = load(classes(tmp_path, 3, "a", "b", "c"))
    for part in (splits.train, splits.valid, splits.test):
        assert sorted(part.labels.tolist()) == [0, 1, 2]


def test_the_order_is_that_of_the_names_and_loading_repeats(tmp_path: Path) -> None:
    for i in reversed(range(20)):
        paint(tmp_path / "a" / f"{i:02}.png", i)
    splits = load(tmp_path)
    for part in (splits.train, splits.valid, splits.test):
        assert part.inputs[:, 0, 0, 0].tolist() == sorted(part.inputs[:, 0, 0, 0].tolist())
    assert load(tmp_path).digest == splits.digest


def test_the_division_does_not_depend_on_what_is_in_the_images(tmp_path: Path) -> None:
    first = load(classes(tmp_path / "1", 12, "a", "b"))
    second = load(classes(tmp_path / "2", 12, "a", "b", start=100))
    assert torch.equal(first.test.inputs[:, 0, 0, 0] + 100, second.test.inputs[:, 0, 0, 0])


def test_what_is_no_image_is_not_looked_at(tmp_path: Path) -> None:
    classes(tmp_path, 3, "a", "b")
    for name in ("labels.csv", "Thumbs.db", "notes.txt", ".hidden.png", "film.mpg", "table.h5", "none", "a/x"):
        (tmp_path / name).write_bytes(b"not an image")
    paint(tmp_path / ".cache" / "b.png", 1)
    (tmp_path / "empty").mkdir()
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.html").write_text("<html>")
    with pytest.warns(UserWarning, match="ignored in") as told:
        splits = load(tmp_path)
    assert splits.classes == ("a", "b")
    assert values(splits) == [(0, 0), (1, 0), (2, 0), (50, 1), (51, 1), (52, 1)]
    assert [str(one.message) for one in told] == [
        f"8 files were ignored in {tmp_path}, since they are not files with an extension of BMP, GIF, JPEG, "
        "PNG, PPM, TIFF or WebP: 2 without an extension, 1 .csv, 1 .db, 1 .h5, 1 .html, 2 others"
    ]


def test_extensions_count_in_any_case_and_linked_folders_too(tmp_path: Path) -> None:
    folder = classes(tmp_path / "images", 2, "a")
    paint(tmp_path / "elsewhere" / "x.PNG", 9)
    paint(tmp_path / "elsewhere" / "y.JpEg", 9)
    paint(tmp_path / "elsewhere" / "z.bmp", 9)
    (folder / "b").symlink_to(tmp_path / "elsewhere")
    paint(folder / "a" / "2.png", 3)
    assert load(folder).classes == ("a", "b")


def test_names_in_unicode(tmp_path: Path) -> None:
    folder = tmp_path / "фото 写真 🐈"
    for name in ("Ä.png", "ß.png", "日本.png", "a b.png"):
        paint(folder / name, 1)
    assert len(values(load(folder))) == 4
    (folder / "ñ.png").write_bytes(b"")
    assert refusal(folder).startswith(f"{folder / 'ñ.png'} cannot be read (")


def test_grey(tmp_path: Path) -> None:
    splits = load(classes(tmp_path, 3, "a"), grey=True)
    assert splits.input_shape == (1, 8, 8)
    expected = [round(0.299 * i + 0.587 * i + 0.114 * (255 - i)) for i in range(3)]
    assert [value for value, _ in values(splits)] == expected


def test_a_folder_is_looked_for_in_the_data_directory_else_in_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes(tmp_path / "here" / "images", 3, "a", "c")
    classes(tmp_path / "there" / "my" / "images", 3, "b", "c")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("STACKED_DATA", str(tmp_path / "there"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data.load("folder:images", image_size=8).classes == ("a", "c")
    assert data.load("folder:my/images", image_size=8, data_dir="../there").classes == ("b", "c")
    assert data.load("folder:my/images", image_size=8, data_dir="~/there").name == "folder:my/images"


UPWARDS = ("/home/alice/photos", "~/photos", "~alice/photos", "../photos", "a/../../photos")
#: Paths of Windows, wherever they are read.
WINDOWS = (
    r"C:\Users\alice\photos",
    "C:/Users/alice/photos",
    r"\\server\alice\photos",
    r"\photos",
    r"C:photos",
    r"..\photos",
)


@pytest.mark.parametrize("path", UPWARDS + WINDOWS)
def test_a_name_does_not_tell_where_a_folder_lies(path: str) -> None:
    for refuses in (data.check_name, data.load, DataSpec):
        with pytest.raises(InputError) as error:
            refuses(f"folder:{path}")
        assert str(error.value) == (
            f"folder:{path} is not allowed, because a dataset's name is recorded and must not name folders of this "
            "machine: give folder:photos, and the folder that contains it as data_dir"
        )


@pytest.mark.parametrize(
    ("typed", "data_dir", "name", "directory"),
    [
        ("mnist", None, "mnist", None),
        ("cifar10", "/data", "cifar10", "/data"),
        ("folder:photos", None, "folder:photos", None),
        ("folder:my/photos", "data", "folder:my/photos", "data"),
        ("folder:photos/", None, "folder:photos", None),
        ("folder:./my//photos/.", "data", "folder:my/photos", "data"),
        ("folder:.", None, "folder:here", "/srv"),
        ("folder:./", "/data/photos", "folder:photos", "/data"),
        ("folder:/home/alice/photos", None, "folder:photos", "/home/alice"),
        ("folder:/home/alice/photos/", "/data", "folder:photos", "/home/alice"),
        ("folder:~/photos", None, "folder:photos", "/home/bob"),
        ("folder:../photos", None, "folder:photos", "/srv"),
        ("folder:../photos", "/data/here", "folder:photos", "/data"),
        ("folder:../photos", "~/here", "folder:photos", "/home/bob"),
        ("folder:/", None, "folder:/", "/"),
        ("amat:/home/alice/rect/rectangles_train.amat", None, "amat:rectangles_train.amat", "/home/alice/rect"),
        ("amat:rect", "data", "amat:rect", "data"),
    ],
)
def test_a_typed_path_is_taken_apart(
    typed: str, data_dir: str | None, name: str, directory: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/bob")
    monkeypatch.setattr(os, "getcwd", lambda: "/srv/here")
    assert apart(typed, data_dir) == (name, directory)


def test_a_path_has_one_name_however_it_is_written(tmp_path: Path) -> None:
    written = [f"folder:{path}" for path in ("my/flat", "my/flat/", "./my/flat", "my//flat", "my/./flat/.")]
    assert {DataSpec(name).name for name in written} == {"folder:my/flat"}
    assert len({RunSpec(data=DataSpec(name)).id for name in written}) == 1
    flat(tmp_path / "my" / "flat", 6)
    assert {data.load(name, image_size=8, data_dir=tmp_path).name for name in written} == {"folder:my/flat"}
    given = [parser("", "", ("joint",)).parse_args(["--data", name, "--data-dir", str(tmp_path)]) for name in written]
    assert len({(found.base.id, found.out) for found in (options("layerwise", words) for words in given)}) == 1


def test_rows_from_before_names_were_one_are_read(tmp_path: Path) -> None:
    spec = to_json(RunSpec(data=DataSpec("folder:flat"))).replace("folder:flat", "folder:flat/")
    run = hashlib.sha256(spec.encode()).hexdigest()[:16]
    row = pd.DataFrame([{"run": run, "arm": "joint", "seed": 0, "status": "finished", "spec": spec}])
    row.to_csv(tmp_path / "runs.csv", index=False)
    assert list(load_rows(tmp_path)["run"]) == [run]
