"""The command that classifies a folder of images."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from stacked import Classification, DataSpec, RunSpec, StackSpec, load_classifier
from stacked.apps.predict import main
from stacked.data.scaling import Scaling
from stacked.data.sources.images.folder import named_images
from stacked.model.classifier import Classifier, save_classifier
from stacked.model.stack import build
from stacked.runs.run import load, run
from stacked.spec import Evaluation

SPEC = StackSpec.of("conv", 4, 6)
CLASSES = ("cat", "=dog", "bird")


@pytest.fixture
def classifier(tmp_path: Path) -> Classifier:
    """A classifier of grey images of 8 x 8, in classifier.safetensors."""
    made = Classifier(build(SPEC, (1, 8, 8)), CLASSES)
    save_classifier(tmp_path / "classifier.safetensors", made, SPEC)
    return made


@pytest.fixture
def images(tmp_path: Path) -> Tensor:
    """Images in a folder `new` and a subfolder, of two sizes."""
    for k, name in enumerate(("a.png", "sub/b.png", "-c.png", "d.png")):
        path = tmp_path / "new" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = torch.randint(0, 256, (8 + 8 * (k % 2),) * 2, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(path)
    return named_images(tmp_path / "new", 8, True)[1]


def predicted(tmp_path: Path, *more: str, data: str = "new") -> int:
    words = [str(tmp_path / "classifier.safetensors"), f"folder:{tmp_path / data}", str(tmp_path / "table.csv"), *more]
    return main(words)


def test_each_image_has_its_class_and_all_probabilities(classifier: Classifier, images: Tensor, tmp_path: Path) -> None:
    assert predicted(tmp_path) == 0
    with (tmp_path / "table.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["file", "class", *(f"probability of {name}" for name in CLASSES)]
    paths, _ = named_images(tmp_path / "new", 8, True)
    names = [path.relative_to(tmp_path / "new").as_posix() for path in paths]
    assert [row[0].removeprefix("'") for row in rows] == names
    assert "'-c.png" in [row[0] for row in rows]  # no formula
    expected = classifier.eval().predict_proba(images)
    for row, probabilities in zip(rows, expected, strict=True):
        assert row[1].removeprefix("'") == CLASSES[int(probabilities.argmax())]
        torch.testing.assert_close(torch.tensor([float(cell) for cell in row[2:]]), probabilities, rtol=1e-5, atol=1e-6)


def test_16_bit_files_are_read_with_the_white_level_of_the_training(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for k in range(10):
            path = tmp_path / "dark" / name / f"{k}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(k).integers(0, 1000, (8, 8)) + 2000 * (name == "b")
            Image.fromarray(pixels.astype(np.uint16)).save(path)
    given = DataSpec("folder:dark", image_size=8, grey=True, white_level=4095)
    spec = RunSpec(
        "random",
        data=given,
        stack=SPEC,
        evaluation=Evaluation(probes=()),
        classification=Classification(labels=(None,), updates=2, checks=1),
    )
    run(spec, load(spec, tmp_path), work=tmp_path)
    (tmp_path / "classifier-all.safetensors").rename(tmp_path / "classifier.safetensors")
    tables = []
    for words in ((), ("--white-level", "4095"), ("--white-level", "65535")):
        assert predicted(tmp_path, "--force", *words, data="dark") == 0
        tables.append((tmp_path / "table.csv").read_text())
    assert tables[0] == tables[1] != tables[2]
    old = load_classifier(tmp_path / "classifier.safetensors")
    save_classifier(tmp_path / "classifier.safetensors", old, SPEC)  # which does not say it
    assert predicted(tmp_path, "--force", data="dark") == 0
    assert (tmp_path / "table.csv").read_text() == tables[2]


@pytest.mark.usefixtures("classifier", "images")
def test_a_white_level_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predicted(tmp_path, "--white-level", "0") == 2
    assert "white level 0 is not allowed: give an integer of at least 1" in capsys.readouterr().err


@pytest.mark.usefixtures("classifier", "images")
def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "table.csv").write_text("mine")
    assert predicted(tmp_path) == 2
    assert "table.csv exists already: give another FILE, or overwrite it with --force" in capsys.readouterr().err
    assert (tmp_path / "table.csv").read_text() == "mine"
    assert predicted(tmp_path, "--force") == 0
    assert (tmp_path / "table.csv").read_text().startswith("file,class,")


@pytest.mark.usefixtures("classifier", "images")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["classifier.safetensors", "mnist", "table.csv"],
            "'mnist' is neither a folder of images nor a file with rows: give folder:PATH, csv:PATH, parquet:PATH or npz:PATH",
        ),
        (["none.safetensors", "folder:new", "table.csv"], "none.safetensors is no file: give the classifier-"),
        (["classifier.safetensors", "folder:none", "table.csv"], "none"),
        (["classifier.safetensors", "folder:new", "classifier.safetensors"], "is an input and cannot be overwritten"),
    ],
)
def test_what_cannot_be_classified_is_said_in_a_line(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "table.csv").exists()


def test_a_classifier_of_images_that_folders_do_not_give_is_refused(
    tmp_path: Path, images: Tensor, capsys: pytest.CaptureFixture[str]
) -> None:
    save_classifier(tmp_path / "classifier.safetensors", Classifier(build(SPEC, (1, 8, 12)), CLASSES), SPEC)
    assert predicted(tmp_path) == 2
    assert "reads images of 1 x 8 x 12, as which folders are not read" in capsys.readouterr().err
    dense = StackSpec.of("dense", 2)
    rows = build(dense, (6,))
    rows.scaling = Scaling()
    save_classifier(tmp_path / "classifier.safetensors", Classifier(rows, CLASSES), dense)
    assert predicted(tmp_path) == 2
    assert "reads floats of 6, as which folders are not read: call its predict in Python" in capsys.readouterr().err


def test_it_is_told_how_images_are_read_and_which_folder_is_new(
    classifier: Classifier, images: Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, read = (
        tmp_path / "classifier.safetensors",
        "images are read grey, cropped to squares and resized to 8 x 8 pixels",
    )
    assert main([str(model), f"folder:{tmp_path / 'new'}", str(tmp_path / "out" / "table.csv")]) == 0
    assert capsys.readouterr().err == f"{read}, as {model} needs them\nthe folder {tmp_path / 'out'} was created\n"
    assert predicted(tmp_path) == 0
    assert capsys.readouterr().err == f"{read}, as {model} needs them\n"
