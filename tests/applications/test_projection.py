"""Maps of images: the page, and the study of projections in its smoke form beside independent computations."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from stacked import data, load_encoder
from stacked.apps.map_page import map_page, scaled, sheet
from stacked.data.sources.images.folder import named_images
from stacked.util.errors import InputError
from studies.applications.projection import study as projection
from studies.framework.main import main
from studies.statistics.measurement_rows import load


def content(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="content">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def images(count: int, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, channels, 3, 5)).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_page_holds_maps_and_images(channels: int) -> None:
    pixels = images(7, channels)
    flat, solid = np.random.rand(7, 2) * 9, np.random.rand(7, 3)
    names = [f"</script><b>{k}" for k in range(7)]
    page = map_page({"flat": flat, "solid": solid}, pixels, names, [0, 1, -1, 0, 1, 0, 0], ["a", "b<i>"], "T<i>tle")
    told = content(page)
    assert [(one["name"], one["size"]) for one in told["maps"]] == [("flat", 2), ("solid", 3)]
    np.testing.assert_allclose(np.reshape(told["maps"][1]["points"], (7, 3)), scaled(solid), atol=1e-4)
    assert told["names"] == names
    assert told["labels"] == [0, 1, -1, 0, 1, 0, 0]
    assert told["classes"] == ["a", "b<i>"]
    assert "T&lt;i&gt;tle" in page
    assert "<b>" not in page
    assert not re.search(r'(?:src|href)\s*=\s*"?https?:', page)
    picture = np.array(Image.open(io.BytesIO(base64.b64decode(told["sheet"].split(",")[1]))))
    row, column = divmod(4, told["across"])
    mine = picture[row * 3 : row * 3 + 3, column * 5 : column * 5 + 5]
    assert np.array_equal(mine, pixels[4, 0] if channels == 1 else pixels[4].transpose(1, 2, 0))


def test_scaled_points_keep_their_shape() -> None:
    points = np.array([[0.0, 10], [4, 10], [2, 11]])
    assert scaled(points).tolist() == [[-1, -0.25], [1, -0.25], [0, 0.25]]
    assert scaled(np.ones((3, 2))).tolist() == [[0, 0]] * 3
    assert Image.open(io.BytesIO(sheet(images(5)))).size == (15, 6)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"maps": {}}, "nothing to show"),
        ({"maps": {"m": np.zeros((3, 4))}}, r"map 'm' of shape \[3, 4\]"),
        ({"maps": {"m": np.full((3, 2), np.nan)}}, "finite"),
        ({"names": ["a"]}, "1 names do not fit 3 images"),
        ({"labels": [0]}, "1 labels do not fit 3 images"),
        (
            {"images": np.zeros((3, 8, 8, 3), np.uint8)},
            r"shape \[3, 8, 8, 3\] cannot be shown: .*permute\(0, 3, 1, 2\)",
        ),
        ({"images": np.zeros((3, 1, 8, 8))}, "images of float64 .* cannot be shown: give uint8"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], says: str) -> None:
    given = {"maps": {"m": np.zeros((3, 2))}, "images": images(3), "names": ["a", "b", "c"], "labels": []}
    with pytest.raises(InputError, match=says):
        map_page(**{**given, **change})


def test_neighbours_vote_as_in_scikit_learn() -> None:
    draw = np.random.default_rng(0)
    points, labels = draw.standard_normal((60, 2)), draw.integers(0, 3, 60)
    points += labels[:, None]
    model = KNeighborsClassifier(projection.NEIGHBOURS)
    expected = (cross_val_predict(model, points, labels, cv=LeaveOneOut()) == labels).mean()
    assert projection.neighbours_agree(points, labels) == pytest.approx(expected)


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("projection")
    words = ["--smoke", "--updates", "5", "--out", str(place / "out"), "--store", str(place / "store")]
    assert main(projection.STUDY, words) == 0
    return place / "out"


@pytest.mark.slow
def test_the_study_runs(record: Path) -> None:
    rows = load(record)
    table = rows[rows["measure"] == "trustworthiness"].pivot(index="condition", columns="arm", values="value")
    assert table.loc["2"].notna().all()
    assert table.loc["3"].notna().sum() == 4
    assert list(table.columns) == sorted(projection.STUDY.arms)
    names = {path.name for path in (record / "figures").iterdir()}
    assert names == {"maps.png", "dimensions.png", "solid.png"}
    told = content((record / "map.html").read_text())
    assert len(told["maps"]) == 10
    assert "[map.html](map.html)" in (record / "README.md").read_text()
    assert "dimensions: 2)" in (record / "README.md").read_text()  # over which t-SNE is compared with others


def test_principal_components_are_scikit_learns(record: Path) -> None:
    rows, splits = load(record), data.load("digits")
    train, test = (part.inputs.flatten(1).numpy() / 255 for part in (splits.train, splits.test))
    pca = PCA(2).fit(train)
    back = pca.inverse_transform(pca.transform(test))
    expected = np.square(back - test).sum() / np.square(test - test.mean(0)).sum()
    found = rows[(rows["arm"] == "PCA") & (rows["measure"] == "fvu") & (rows["condition"] == "2")]["value"]
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_images_of_ones_own_are_placed(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "mine").mkdir()
    for k, image in enumerate(data.load("digits").train.inputs[:90]):
        Image.fromarray(image[0].numpy()).save(tmp_path / "mine" / f"{k:03}.png")
    words = ["--data", f"folder:{tmp_path / 'mine'}", "--grey", "--image-size", "8", "--updates", "3"]
    assert main(projection.STUDY, [*words, "--out", str(tmp_path / "out")]) == 0
    assert "90 images are mapped" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "out" / "map.csv")
    assert list(table.columns) == ["file", "x2", "y2", "x3", "y3", "z3"]
    paths, pixels = named_images(tmp_path / "mine", 8, True)
    assert list(table["file"]) == [path.name for path in paths]
    encoder = load_encoder(tmp_path / "out" / "encoder-2.safetensors")
    with torch.no_grad():
        expected = encoder(pixels.float() / 255).numpy()
    np.testing.assert_allclose(table[["x2", "y2"]].to_numpy(), expected, rtol=1e-4, atol=1e-5)
    assert (tmp_path / "out" / "map.png").exists()
    assert len(content((tmp_path / "out" / "map.html").read_text())["names"]) == 90
    assert main(projection.STUDY, [*words, "--dimensions", "5", "--out", str(tmp_path / "out")]) == 2
    assert "a map has 2 or 3 dimensions" in capsys.readouterr().err


def two_classes(place: Path, each: int) -> list[str]:
    """Words for a folder with two classes of so many digits."""
    images = data.load("digits").train.inputs
    for k, image in enumerate(images[: 2 * each]):
        path = place / "digits" / "ab"[k % 2] / f"{k:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(path)
    words = ["--data", f"folder:{place / 'digits'}", "--grey", "--image-size", "8", "--updates", "3", "--seeds", "1"]
    return [*words, "--out", str(place / "out"), "--store", str(place / "store")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("each", "more", "says"),
    [
        (60, [], "20 test images are too few to measure 12 neighbours of each: give data with 25 or more"),
        (
            81,
            [],
            "27 test images are too few for t-SNE with a perplexity of 30: give data with 31 or more, or leave out",
        ),
        (100, ["--dimensions", "2", "300"], "dimensions 300 is not allowed"),
        (34, ["--methods", "linear"], "11 test images are too few"),
        (78, ["--methods", "pca", "linear", "--dimensions", "2", "64"], ""),
    ],
)
def test_too_few_images_are_refused_before_training(
    each: int, more: list[str], says: str, tmp_path: Path, capsys: Any
) -> None:
    words = two_classes(tmp_path, each)
    assert main(projection.STUDY, [*words, *more]) == (2 if says else 0)
    told = capsys.readouterr().err
    assert says in told
    assert (tmp_path / "out").exists() == (not says)
    assert not says or told.count("\n") == 1


def test_as_many_components_as_images_are_refused(tmp_path: Path, capsys: Any) -> None:
    words = two_classes(tmp_path, 81)
    methods = ["--methods", "linear", "pca", "--dimensions", "2", "64", "--limit", "40"]
    assert main(projection.STUDY, [*words, *methods]) == 2
    assert "PCA with 64 components needs as many training images, but there are 40" in capsys.readouterr().err
