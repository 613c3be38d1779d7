"""Studies of folders that hold too little to measure all: what is not defined stays blank and is told."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stacked import data
from studies.applications.anomaly import study as anomaly
from studies.applications.capacity import study as capacity
from studies.applications.denoising import study as denoising
from studies.applications.linear import study as linear
from studies.figures.pictures import by_value
from studies.framework.main import main
from studies.framework.main import main as main_of_use
from studies.pretraining.layerwise import STUDY


def folder(place: Path, count: int, same: bool = False) -> Path:
    """A folder of so many images of 8 x 8 pixels, without classes."""
    place.mkdir(parents=True)
    for k, image in enumerate(data.load("digits").train.inputs[:count, 0].numpy()):
        Image.fromarray(image if not same else np.eye(8, dtype=np.uint8) * 255).save(place / f"{k:03}.png")
    return place


@pytest.mark.usefixtures("no_models")
@pytest.mark.parametrize(("count", "same"), [(3, False), (30, True)])
def test_a_study_of_few_images_or_of_copies_ends_with_blanks(
    count: int, same: bool, tmp_path: Path, capsys: Any
) -> None:
    images = folder(tmp_path / "images", count, same)
    words = ["--smoke", "--data", f"folder:{images}", "--image-size", "8", "--grey", "--arms", "random", "joint"]
    words += ["--channels", "2", "--jobs", "1", "--out", str(tmp_path / "out"), "--store", str(tmp_path / "store")]
    assert main(STUDY, words) == 0
    told = capsys.readouterr().err
    many = {3: ("1 image", "1 image"), 30: ("2 images", "5 images")}[count]
    for split, number in zip(("validation", "test"), many, strict=True):
        assert (
            f"FVU is not defined on the {split} images, because they are all equal ({number}): its cells are blank"
            in told
        )
    with (tmp_path / "out" / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["finished"] * 2
    assert [row["final/recon_fvu"] for row in rows] == ["", ""]
    assert all(float(row["final/recon_mse"]) > 0 for row in rows)
    assert "Test FVU is not defined, because all test images are equal." in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    ("use", "more", "blank"),
    [
        (linear.STUDY, ["--methods", "joint-tied"], {"fvu", "excess"}),
        (
            capacity.STUDY,
            ["--methods", "plain", "PCA", "--widths", "2"],
            {"test_fvu", "denoised_fvu", "copied"},
        ),
    ],
)
def test_a_use_of_copies_leaves_blank_what_is_not_defined(
    use: Any, more: list[str], blank: set[str], tmp_path: Path, capsys: Any
) -> None:
    images = folder(tmp_path / "images", 40, same=True)
    words = ["--data", f"folder:{images}", "--image-size", "8", "--grey", "--updates", "2", "--seeds", "1", *more]
    assert main_of_use(use, [*words, "--out", str(tmp_path / "out"), "--store", str(tmp_path / "store")]) == 0
    assert "are not defined; their cells are blank" in capsys.readouterr().err
    with (tmp_path / "out" / "rows.csv").open() as file:
        empty = {row["measure"] for row in csv.DictReader(file) if row["value"] == ""}
    assert blank <= empty
    assert "Values that are not defined are left out" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    ("use", "count", "says"),
    [
        (linear.STUDY, 10, "7 training images are too few for 16 principal components"),
        (
            denoising.STUDY,
            4,
            "PCA with 4 components needs at least as many training images and values, but there are 2 images of 64 values",
        ),
        (anomaly.STUDY, 7, "3 images are too few to train on some and calibrate on others: give at least 4"),
    ],
)
def test_a_use_of_too_few_images_is_refused_before_training(
    use: Any, count: int, says: str, tmp_path: Path, capsys: Any
) -> None:
    images = folder(tmp_path / "images", count)
    words = ["--data", f"folder:{images}", "--image-size", "8", "--grey", "--updates", "2"]
    assert main_of_use(use, [*words, "--out", str(tmp_path / "out"), "--store", str(tmp_path / "store")]) == 2
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    images = folder(tmp_path / "images", 6)
    (images / "phone.heic").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"1 file was ignored in .*: 1 \.heic$"):
        data.load("folder:images", data_dir=tmp_path, image_size=8)


def test_lines_without_a_number_come_last() -> None:
    lines = [
        (name, np.zeros(0), value) for name, value in (("a", 2.0), ("b", np.nan), ("c", 1.0), ("d", np.nan), ("e", 0.5))
    ]
    assert [name for name, _, _ in sorted(lines, key=by_value)] == ["e", "c", "a", "b", "d"]
