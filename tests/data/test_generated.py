"""Data that are generated: how they are made, kept and verified."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from stacked import data
from stacked.data.formats.draws import ONE, Draws
from stacked.data.formats.generated import Generated, digest
from stacked.data.sources.generated import convex, rect, rect_img
from stacked.data.sources.generated.mnist_variation import drawn, patches, turned, turned_by, with_background
from stacked.data.sources.generated.rect import Rect
from stacked.util.errors import InputError


def test_draws_are_those_of_the_raw_numbers() -> None:
    """PCG64's first raw numbers of seed 0, by NumPy's own documentation of a frozen stream."""
    raw = np.random.PCG64(0).random_raw(3)
    assert list(Draws(0).integers(3, 1000)) == [int(one >> 32) * 1000 >> 32 for one in map(int, raw)]
    drawn = Draws(1).integers(100_000, 10)
    assert set(drawn) == set(range(10))
    assert np.bincount(drawn).std() < 300
    assert sorted(Draws(2).permutation(50)) == list(range(50))
    cosines, sines = Draws(3).directions(10_000)
    assert np.abs(np.hypot(cosines / ONE, sines / ONE) - 1).max() < 2e-6
    assert abs(cosines.mean()) < 0.03 * ONE
    trials = Draws(4).geometric(100_000, 0.195)
    assert trials.min() == 1
    assert trials.mean() == pytest.approx(1 / 0.195, rel=0.02)
    assert (trials == 1).mean() == pytest.approx(0.195, abs=0.005)


def images(n: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (n, 28, 28), dtype=np.uint8)


@pytest.mark.parametrize(("cosine", "sine", "quarters"), [(1, 0, 0), (0, 1, 1), (-1, 0, 2), (0, -1, 3)])
def test_quarter_turns_move_pixels_without_changing_them(cosine: int, sine: int, quarters: int) -> None:
    made, turns = images(), np.ones(3, dtype=np.int64)
    found = turned_by(made, cosine * ONE * turns, sine * ONE * turns)
    np.testing.assert_array_equal(found, np.rot90(made, quarters, axes=(1, 2)))


def test_a_turn_interpolates_as_scipy_does() -> None:
    """Within the rounding of weights to 10 bits, at most 255 / 1024 for each axis, and of the result."""
    from scipy.ndimage import rotate

    made = images()
    for degrees in (30, 100, 250):
        angle = np.deg2rad(degrees)
        turns = [np.full(3, round(float(f(angle)) * ONE)) for f in (np.cos, np.sin)]
        found = turned_by(made, *turns).astype(int)
        wanted = rotate(np.pad(made, ((0, 0), (9, 9), (9, 9))).astype(float), degrees, (2, 1), reshape=False, order=1)
        assert np.abs(found - wanted[:, 9:37, 9:37]).max() <= 1.1


def test_turns_depend_on_the_draws_alone_and_not_on_their_neighbours() -> None:
    made = images(5)[:, None]
    again = turned(made, Draws(7))
    np.testing.assert_array_equal(turned(made, Draws(7)), again)
    assert (again != made).any((1, 2, 3)).all()


def test_a_background_replaces_black_pixels_alone() -> None:
    digits, background = np.array([[0, 5], [255, 0]], dtype=np.uint8), np.array([[7, 8], [9, 0]], dtype=np.uint8)
    assert with_background(digits, background).tolist() == [[7, 5], [255, 0]]


def test_rectangles_are_borders_whose_longer_side_is_their_label() -> None:
    made, labels = rect.rectangles(500, Draws(0))
    assert made.shape == (500, 1, 28, 28)
    assert set(np.unique(made)) == {0, 255}
    for image, label in zip(made[:, 0] > 0, labels, strict=True):
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert label == (height > width)
        assert abs(height - width) >= 3
        assert image.sum() == (2 * (height + width) - 4 if min(height, width) > 1 else max(height, width))
    assert 0.4 < labels.mean() < 0.6
    one = np.array([1])
    assert rect.border(one, one, 3 * one, 4 * one)[0, :5, :6].tolist() == [
        [0, 0, 0, 0, 0, 0],
        [0, 255, 255, 255, 255, 0],
        [0, 255, 0, 0, 255, 0],
        [0, 255, 255, 255, 255, 0],
        [0, 0, 0, 0, 0, 0],
    ]


def halves(region: NDArray[np.bool_]) -> bool:
    """Whether a region holds what lies halfway between any two of its pixels, asked pair by pair."""
    pixels = {(int(y), int(x)) for y, x in np.argwhere(region)}
    return all(
        ((a + c) // 2, (b + d) // 2) in pixels
        for a, b in pixels
        for c, d in pixels
        if (a + c) % 2 == 0 and (b + d) % 2 == 0
    )


def test_convex_regions_are_convex_and_others_are_not() -> None:
    from scipy.spatial import ConvexHull

    random = Draws(0)
    regular, others = convex.intersections(60, random, *convex.CONVEX), convex.unions(40, random)
    assert regular.sum((1, 2)).min() >= 19
    assert others.sum((1, 2)).min() >= 10
    for region in regular[:20]:
        pixels = np.argwhere(region)
        assert halves(region)
        if np.linalg.matrix_rank(pixels - pixels[0]) == 2:  # no line
            every = np.argwhere(np.ones_like(region))
            normals, offsets = np.split(ConvexHull(pixels).equations, [2], axis=1)
            inside = (every @ normals.T + offsets.T <= 1e-9).all(1)
            assert inside.sum() == len(pixels)  # the hull holds no other pixel
    assert not any(map(halves, others[:20]))
    assert convex.is_convex(regular).all()
    assert not convex.is_convex(others).any()


def test_half_planes_have_their_edge_where_it_was_drawn() -> None:
    """About half of all pixels, and at least one side of each is straight: the pixels are an intersection's."""
    planes = convex.half_planes(2_000, Draws(0))
    assert planes.mean() == pytest.approx(0.5, abs=0.02)
    assert convex.is_convex(planes).all()
    assert convex.is_convex(~planes).all()


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A set of 30 rectangles in the place of 51,200."""
    monkeypatch.setattr(Rect, "sizes", (12, 6, 12))
    monkeypatch.setattr(Rect, "sha256", digest(*rect.rectangles(30, Draws(Rect.seed))))


@pytest.mark.usefixtures("few")
def test_generated_data_are_made_once_and_kept_as_arrays_that_are_data_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = data.load("rect", data_dir=tmp_path)
    assert [len(part) for part in (made.train, made.valid, made.test)] == [12, 6, 12]
    assert (made.name, made.classes, made.input_shape) == ("rect", ("wider", "taller"), (1, 28, 28))

    def refused(*_: object) -> None:
        raise AssertionError("generated again")

    monkeypatch.setattr(Rect, "generate", refused)
    again = data.load("rect", data_dir=tmp_path)
    assert again.digest == made.digest
    exported = data.load("npz:generated/rect.npz", data_dir=tmp_path)
    for part in ("train", "valid", "test"):
        assert torch.equal(getattr(exported, part).inputs, getattr(made, part).inputs)
        assert torch.equal(getattr(exported, part).labels, getattr(made, part).labels)
    with pytest.raises(InputError, match="has its own validation set"):
        data.load("rect", data_dir=tmp_path, valid=0.1)


@pytest.mark.usefixtures("few")
@pytest.mark.robustness
@pytest.mark.parametrize("damage", ["a pixel", "an array", "the end", "everything"])
def test_a_damaged_file_is_refused_in_a_line(tmp_path: Path, damage: str) -> None:
    data.load("rect", data_dir=tmp_path)
    path = tmp_path / "generated" / "rect.npz"
    with np.load(path) as file:
        arrays = dict(file)
    if damage == "a pixel":
        arrays["X_test"][3, 0, 5, 5] ^= 1
    elif damage == "an array":
        del arrays["y_valid"]
    np.savez(path, **arrays)
    if damage in ("the end", "everything"):
        path.write_bytes(path.read_bytes()[:-200] if damage == "the end" else b"")
    with pytest.raises(InputError, match="delete it, and it is generated again"):
        data.load("rect", data_dir=tmp_path)
    path.unlink()
    data.load("rect", data_dir=tmp_path)


@pytest.mark.usefixtures("few")
def test_other_images_than_the_published_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rect, "seed", 1)
    with pytest.raises(InputError, match="this machine computes otherwise"):
        data.load("rect", data_dir=tmp_path)
    assert not (tmp_path / "generated").exists()


@pytest.mark.usefixtures("few")
def test_data_that_cannot_be_kept_are_generated_again_with_a_warning(tmp_path: Path) -> None:
    (tmp_path / "generated").write_text("a file where the folder would be")
    with pytest.warns(RuntimeWarning, match="rect is generated again each time"):
        assert len(data.load("rect", data_dir=tmp_path).train) == 12


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist-basic", "mnist-rot", "mnist-bg-rand", "rect"])
def test_generated_data_are_the_published_ones(name: str, tmp_path: Path) -> None:
    """Which `load` verifies by SHA-256."""
    splits = data.load(name, data_dir=tmp_path)
    sizes = (1_000, 200, 50_000) if name == "rect" else (10_000, 2_000, 50_000)
    assert tuple(map(len, (splits.train, splits.valid, splits.test))) == sizes
    if name.startswith("mnist"):
        mnist = data.load("mnist")
        every = torch.cat([part.inputs for part in (mnist.train, mnist.valid, mnist.test)])
        known = {hashlib.sha256(image.numpy().tobytes()).digest() for image in every}
        found = [hashlib.sha256(image.numpy().tobytes()).digest() for image in splits.train.inputs]
        assert len({*found}) > 9_990
        assert (name == "mnist-basic") == (set(found) <= known)


def test_a_few_convex_regions_are_drawn_as_when_all_were_published(monkeypatch: pytest.MonkeyPatch) -> None:
    """All 58,000 take a minute; `load` verifies their SHA-256 where they are generated."""
    monkeypatch.setattr(convex, "BATCH", 64)
    few = digest(*convex.regions(60, Draws(convex.Convex.seed)))
    assert few == "97cf21a92a74353af7498382427814fc8ebd46dba776486a913c2cf12b9a5a04"


@pytest.mark.parametrize("name", ["mnist-bg-img", "mnist-rot-bg-img"])
def test_digits_stand_in_front_of_the_photographs_of_a_user(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    monkeypatch.setattr(Generated, "sizes", (40, 10, 20))
    for k in (1, 2):  # of one shade each
        Image.new("RGB", (90, 60), (100 * k, 100 * k, 100 * k)).save(tmp_path / f"{k}.png")
    splits = data.load(f"{name}:{tmp_path.name}", data_dir=tmp_path.parent, image_size=32)
    assert [len(part) for part in (splits.train, splits.valid, splits.test)] == [40, 10, 20]
    corners = set(splits.train.inputs[:, 0, 0, 0].tolist())
    assert corners == {100, 200}
    assert int(splits.train.inputs.max()) > 250
    draws = Draws(Generated.seed)
    plain, labels = drawn(70, draws)
    assert splits.train.labels.tolist() == labels[:40].tolist()
    digits = (plain if name == "mnist-bg-img" else turned(plain, draws))[:40]
    shown = splits.train.inputs.numpy()
    assert (shown[digits > 0] == digits[digits > 0]).all()
    for wrong, message in (({"image_size": 27}, "is smaller than a patch"), ({"valid": 0.1}, "own validation set")):
        with pytest.raises(InputError, match=message):
            data.load(f"{name}:{tmp_path.name}", data_dir=tmp_path.parent, **wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="is not a folder"):
        data.load(f"{name}:nowhere", data_dir=tmp_path)


def test_rectangles_of_a_photograph_lie_on_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    monkeypatch.setattr(Generated, "sizes", (200, 10, 20))
    for k in (1, 2):  # of one shade each
        Image.new("L", (40, 40), 100 * k).save(tmp_path / f"{k}.png")
    splits = data.load(f"rect-img:{tmp_path.name}", data_dir=tmp_path.parent, image_size=32)
    assert [len(part) for part in (splits.train, splits.valid, splits.test)] == [200, 10, 20]
    assert splits.classes == ("wider", "taller")
    draws = Draws(Generated.seed)
    _, _, heights, widths = rect.drawn_rectangles(230, draws, rect_img.is_allowed)
    covered = heights * widths / 28**2
    assert np.minimum(heights, widths).min() >= 10
    assert np.abs(heights - widths).min() >= 5
    assert 0.25 <= covered.min() < 0.3
    assert 0.7 < covered.max() <= 0.75
    seen = 0
    for image, label, high, wide in zip(splits.train.inputs[:, 0], splits.train.labels, heights, widths, strict=False):
        shades, counts = image.unique(return_counts=True)
        assert set(shades.tolist()) <= {100, 200}
        assert label == (high > wide)
        if len(shades) == 2:  # else both patches are of the same photograph
            assert high * wide in counts.tolist()
            seen += 1
    assert 70 < seen < 130


def test_patches_are_parts_of_photographs() -> None:
    photographs = np.arange(2 * 40 * 40, dtype=np.int64).reshape(2, 1, 40, 40)
    found = patches(photographs, 50, Draws(0))  # type: ignore[arg-type]
    assert found.shape == (50, 1, 28, 28)
    for patch in found[:, 0]:
        assert (np.diff(patch, axis=1) == 1).all()
        assert (np.diff(patch, axis=0) == 40).all()
    assert len({int(patch[0, 0, 0]) for patch in found}) > 40
