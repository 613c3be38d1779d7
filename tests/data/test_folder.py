"""A user's own images: layouts of folders, and what is refused."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch

from stacked import data
from stacked.data import Splits
from stacked.data.sources.folder import apart, named_images
from stacked.spec import DataSpec, RunSpec
from stacked.util.errors import InputError
from stacked.util.serialization import to_json
from studies.cli.command_line import parser
from studies.cli.options import options
from studies.statistics.rows import load_rows
from tests.helpers.images import classes, paint


def load(folder: Path, **options: object) -> Splits:
    return data.load(f"folder:{folder.name}", data_dir=folder.parent, **{"image_size": 8, **options})  # type: ignore[arg-type]


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as error:
        load(folder)
    return str(error.value)


def values(splits: Splits) -> list[tuple[int, int]]:
    """(first pixel, label) of every image of all splits, sorted."""
    parts = (splits.train, splits.valid, splits.test)
    return sorted((int(x[0, 0, 0]), int(y)) for s in parts for x, y in zip(s.images, s.labels, strict=True))


def flat(folder: Path, count: int) -> Path:
    for i in range(count):
        paint(folder / f"{i}.png", i)
    return folder


# Layouts


def test_class_folders(tmp_path: Path) -> None:
    splits = load(classes(tmp_path, 12, "b", "a", "Ç mit Leerzeichen"))
    assert splits.classes == ("a", "b", "Ç mit Leerzeichen")
    assert splits.image_shape == (3, 8, 8)
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
    assert splits.test.images[:, 0, 0, 0].tolist() == [200, 201]


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
        assert part.images[:, 0, 0, 0].tolist() == sorted(part.images[:, 0, 0, 0].tolist())
    assert load(tmp_path).digest == splits.digest


def test_the_division_does_not_depend_on_what_is_in_the_images(tmp_path: Path) -> None:
    first = load(classes(tmp_path / "1", 12, "a", "b"))
    second = load(classes(tmp_path / "2", 12, "a", "b", start=100))
    assert torch.equal(first.test.images[:, 0, 0, 0] + 100, second.test.images[:, 0, 0, 0])


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
        f"8 files were ignored in {tmp_path}, since their extensions are not those of images: "
        "2 without an extension, 1 .csv, 1 .db, 1 .h5, 1 .html, 2 others"
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
    assert splits.image_shape == (1, 8, 8)
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


# Refusals


def test_an_archive_is_to_be_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("zip", "gztar"):
        path = Path(shutil.make_archive(str(tmp_path / "photos"), kind, tmp_path))
        told = f"folder:{path} is an archive: unpack it, and give the folder with the images after 'folder:'"
        assert refusal(path) == told
        with pytest.raises(InputError) as error:
            named_images(path, 8, False)
        assert str(error.value) == told
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InputError, match=r"no dataset 'photos\.zip': .*; photos\.zip is an archive: unpack it, and give folder:"
    ):
        data.load("photos.zip")


def test_the_name_of_a_folder_alone_is_not_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flat(tmp_path / "flat", 3)
    for name, data_dir in (("flat", tmp_path), (str(tmp_path / "flat"), None)):
        with pytest.raises(InputError, match=rf"there is no dataset '{name}': .*; did you mean 'folder:{name}'\?"):
            data.load(name, data_dir=data_dir)
    words = parser("", "", ("joint",)).parse_args(["--data", "flat", "--data-dir", str(tmp_path)])
    with pytest.raises(InputError, match=r"; did you mean 'folder:flat'\?"):
        options("layerwise", words)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"; did you mean 'folder:flat'\?"):
        DataSpec("flat")


def test_a_missing_folder_or_a_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", paint(tmp_path / "x.png", 1)):
        expected = f"folder:{path} is not a folder: give the path of a folder of images after 'folder:'"
        assert refusal(path) == expected


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    says = "holds no images that Pillow reads (1 .txt of other formats): give a folder that has some"
    assert refusal(tmp_path) == f"{tmp_path} {says}"
    (tmp_path / "notes.txt").unlink()
    assert refusal(tmp_path) == f"{tmp_path} holds no images that Pillow reads: give a folder that has some"
    classes(tmp_path / "train", 3, "a")
    (tmp_path / "test").mkdir()
    assert refusal(tmp_path).startswith(f"{tmp_path / 'test'} holds no images")


def test_unreadable_images_are_named_and_counted(tmp_path: Path) -> None:
    classes(tmp_path, 3, "a")
    (tmp_path / "a" / "0.png").write_text("no image")
    message = refusal(tmp_path)
    assert message.startswith(f"{tmp_path}/a/0.png cannot be read (cannot identify image file")
    assert message.endswith("): repair or remove such files")
    (tmp_path / "a" / "1.png").write_text("no image")
    (tmp_path / "a" / "2.png").write_text("no image")
    message = refusal(tmp_path)
    assert message.startswith(f"{tmp_path}/a/0.png cannot be read (")
    assert message.endswith("), nor can 2 more: repair or remove such files")


def test_a_broken_link_is_an_unreadable_image(tmp_path: Path) -> None:
    classes(tmp_path, 3, "a")
    (tmp_path / "a" / "link.png").symlink_to(tmp_path / "gone.png")
    assert refusal(tmp_path).startswith(f"{tmp_path}/a/link.png cannot be read ([Errno 2] No such file")


def test_images_beside_class_folders_are_ambiguous(tmp_path: Path) -> None:
    paint(classes(tmp_path, 3, "a") / "loose.png", 1)
    assert refusal(tmp_path) == (
        f"{tmp_path} holds images (loose.png) next to folders of images: put each image into a "
        "class folder, or all in one folder without subfolders"
    )


@pytest.mark.parametrize(("here", "there"), [("train", "test"), ("test", "train")])
def test_half_a_division_is_not_a_class(tmp_path: Path, here: str, there: str) -> None:
    classes(tmp_path / here, 3, "a", "b")
    classes(tmp_path / "val", 3, "a", "b")
    assert refusal(tmp_path) == (
        f"{tmp_path} has {here} with folders in it but no {there}: add {there}, or give "
        f"folder:{tmp_path / here} to hold out a test set from it"
    )


def test_images_beside_train_and_test_are_refused(tmp_path: Path) -> None:
    for name in ("train", "test", "val"):
        classes(tmp_path / name, 3, "a")
    assert refusal(tmp_path) == (
        f"{tmp_path} has train and test, but also 3 images outside of them, the first {tmp_path}/val/a/0.png: move "
        "them into one of the two, or elsewhere (validation images are held out from train)"
    )


def test_train_and_test_must_agree(tmp_path: Path) -> None:
    classes(tmp_path / "train", 3, "a", "b")
    classes(tmp_path / "test", 3, "b", "c")
    assert refusal(tmp_path) == (f"{tmp_path}/test has a class 'c' that {tmp_path}/train lacks: add or rename it")
    flat = tmp_path / "flat"
    classes(flat / "train", 3, "a")
    paint(flat / "test" / "0.png", 1)
    assert refusal(flat) == f"only one of {flat}/train and {flat}/test has class folders: give them to both"


ONE_CLASS = "all images of {} are in one folder, 'a': they are read as images without classes"


def test_one_class_is_none(tmp_path: Path) -> None:
    whole, divided = classes(tmp_path / "whole", 12, "a"), tmp_path / "divided"
    for part in ("train", "test"):
        classes(divided / part, 6, "a")
    for folder, told in ((whole, whole), (divided, divided / "train")):
        with pytest.warns(UserWarning, match=re.escape(ONE_CLASS.format(told))):
            splits = load(folder)
        assert splits.classes == ()
        assert {label for part in (splits.train, splits.valid, splits.test) for label in part.labels.tolist()} == {-1}
    classes(divided / "train", 6, "b")
    assert set(load(divided).test.labels.tolist()) == {0}  # of the two that training images have


def test_what_is_left_out_is_told_once_and_after_all_was_read(tmp_path: Path) -> None:
    for part in ("train", "test"):
        classes(tmp_path / part, 3, "a", "b")
        (tmp_path / part / "a" / "phone.HEIC").write_bytes(b"")
    with pytest.warns(UserWarning, match="ignored in") as told:
        load(tmp_path)
    assert len(told) == 1
    assert str(told[0].message).startswith(f"2 files were ignored in {tmp_path}, since")
    assert str(told[0].message).endswith(": 2 .heic")
    with pytest.warns(UserWarning, match=r": 1 \.heic$"):
        named_images(tmp_path / "train" / "a", 8, False)
    (tmp_path / "train" / "a" / "0.png").write_bytes(b"")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "cannot be read" in refusal(tmp_path)


def test_too_few_images_are_refused(tmp_path: Path) -> None:
    few = classes(tmp_path / "few", 3, "a")
    paint(few / "b" / "0.png", 1)
    needed = "and at least 3 are needed to train, validate and test with: add some"
    assert refusal(few) == f"{few}/b has 1 image, {needed}"
    paint(few / "b" / "1.png", 1)
    assert refusal(few) == f"{few}/b has 2 images, {needed}"
    flat = tmp_path / "flat"
    paint(flat / "0.png", 1)
    assert refusal(flat) == f"{flat} has 1 image, {needed}"
    divided = classes(tmp_path / "divided" / "train", 1, "a", "b").parent
    classes(divided / "test", 1, "a")
    assert refusal(divided) == (
        f"{divided}/train/a has 1 image, and at least 2 are needed to train and validate with: add some"
    )


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classes(tmp_path, 3, "a", "b")
    scandir = os.scandir

    def guarded(path: str) -> Iterator[os.DirEntry[str]]:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)  # file modes would not stop a test run by root
    assert refusal(tmp_path) == f"{tmp_path}/b cannot be listed (Permission denied): make it readable"


def test_images_that_do_not_fit_in_memory_are_refused(tmp_path: Path) -> None:
    classes(tmp_path, 3, "a")
    for size in (10**8, 10**10):
        with pytest.raises(InputError, match=r"^3 images of 3x1000+x1000+ need [\d,.]+ GiB of memory"):
            load(tmp_path, image_size=size)


def test_images_are_bytes_in_rows(tmp_path: Path) -> None:
    splits = load(classes(tmp_path, 12, "a"))
    for part in (splits.train, splits.valid, splits.test):
        assert part.images.dtype == torch.uint8
        assert part.images.is_contiguous()
