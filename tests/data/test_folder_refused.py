"""A user's own images: folders that are refused, and what is said of what is left out."""

from __future__ import annotations

import os
import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from stacked import data
from stacked.data.sources.images.folder import named_images
from stacked.spec import DataSpec
from stacked.util.errors import InputError
from studies.cli.command_line import parser
from studies.cli.options import options
from tests.helpers.folders import load, refusal
from tests.helpers.images import classes, flat, paint


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
        InputError, match=r"no dataset 'photos\.zip'; photos\.zip is an archive: unpack it, and give folder:"
    ):
        data.load("photos.zip")


def test_the_name_of_a_folder_alone_is_not_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flat(tmp_path / "flat", 3)
    for name, data_dir in (("flat", tmp_path), (str(tmp_path / "flat"), None)):
        with pytest.raises(InputError, match=rf"there is no dataset '{name}'; did you mean 'folder:{name}'\?"):
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
    says = f"{tmp_path} holds no images in BMP, GIF, JPEG, PNG, PPM, TIFF or WebP"
    assert refusal(tmp_path) == f"{says}, only 1 .txt: give a folder that has some"
    (tmp_path / "notes.txt").unlink()
    assert refusal(tmp_path) == f"{says}: give a folder that has some"
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
        assert part.inputs.dtype == torch.uint8
        assert part.inputs.is_contiguous()
