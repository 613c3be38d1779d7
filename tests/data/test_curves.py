"""The strokes of the dataset `curves`: their curves, their ink, and how they are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.interpolate import BPoly, CubicSpline

from stacked import data
from stacked.data.formats.draws import Draws
from stacked.data.formats.generated import digest
from stacked.data.sources.generated import curves
from stacked.data.sources.generated.curves import Curves

T = np.linspace(0, 2, 257)


def through(n: int) -> np.ndarray:
    """Points [n, 3, 2] in pixels, as they are drawn."""
    return curves.points(n, Draws(0)) / 2**curves.FRACTION


def test_points_are_uniform_in_the_middle() -> None:
    found = through(4000)
    assert found.min() >= 4
    assert found.max() < 24
    assert found.mean((0, 1)) == pytest.approx([14, 14], abs=0.3)
    assert found.std((0, 1)) == pytest.approx([20 / 12**0.5] * 2, rel=0.03)
    np.testing.assert_array_equal(found[:10], through(10))  # an image does not depend on how many there are


def test_a_curve_is_scipys_natural_spline_within_rounding() -> None:
    points = curves.points(200, Draws(1))
    wanted = CubicSpline([0, 1, 2], points.swapaxes(0, 1) / 2**16, bc_type="natural")(T).swapaxes(0, 1)
    assert np.abs(curves.spline(points) - 256 * wanted).max() <= 0.5 + 1e-6


def test_a_curve_is_two_cubic_bezier_curves() -> None:
    """Each half has control points at its ends and at a third of its slope from them (Farin 2002)."""
    first, middle, last = through(1)[0]
    bend, slope = first - 2 * middle + last, (last - first) / 2
    halves = [
        [first, first + (middle - first - bend / 4) / 3, middle - slope / 3, middle],
        [middle, middle + slope / 3, last - (last - middle + bend / 4) / 3, last],
    ]
    wanted = BPoly(np.stack(halves, axis=1), [0, 1, 2])(T)
    assert np.abs(curves.spline(curves.points(1, Draws(0)))[0] - 256 * wanted).max() <= 0.5 + 1e-6


def test_no_curve_leaves_the_image() -> None:
    """The extreme is at 1/sqrt(3) of a half, (1/sqrt(3) - 1/sqrt(27)) / 4 = 0.0962 of the square beyond its edge."""
    low, high = 4 << curves.FRACTION, 24 << curves.FRACTION
    corner = np.array([[[low, high], [low, high], [high, low]]])
    places = curves.spline(corner) / 256
    assert places.min() == pytest.approx(4 - 20 * 0.0962, abs=0.01)
    assert places.max() == pytest.approx(24 + 20 * 0.0962, abs=0.01)
    assert places.min() > curves.RADIUS / 256


def test_the_ink_of_a_pixel_is_the_most_of_all_places_of_the_pen() -> None:
    places = curves.spline(curves.points(20, Draws(2)))
    centres = np.arange(28) + 0.5
    away = (centres - places[..., None] / 256) ** 2
    squared = (away[:, :, 0, :, None] + away[:, :, 1, None, :]).min(1)
    wanted = np.floor(255 * np.clip(1 - squared / 1.5**2, 0, 1) + 0.5)
    np.testing.assert_array_equal(curves.inked(places), wanted)
    dot = curves.inked(np.array([[[128 + 256 * 9, 128 + 256 * 4]]]))[0]  # the centre of row 9, column 4
    side, corner = round(255 * (1 - 1 / 2.25)), round(255 * (1 - 2 / 2.25))
    assert dot[8:11, 3:6].tolist() == [[corner, side, corner], [side, 255, side], [corner, side, corner]]
    assert dot.astype(int).sum() == 255 + 4 * (side + corner)


def test_a_few_strokes_are_drawn_as_when_all_were_published() -> None:
    few = curves.strokes(curves.points(60, Draws(Curves.seed)))
    assert few.shape == (60, 1, 28, 28)
    assert digest(few, np.full(60, -1)) == "18dfeb0d5530ee5eabf9565563fdab9618688a26eb5c34dea58c385f94726b2d"
    assert curves.BATCH > 60  # a batch more changes nothing
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "BATCH", 7)
        np.testing.assert_array_equal(curves.strokes(curves.points(60, Draws(Curves.seed))), few)


def test_curves_are_kept_without_labels_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Curves, "sizes", (20, 4, 10))
    monkeypatch.setattr(
        Curves, "sha256", digest(curves.strokes(curves.points(34, Draws(Curves.seed))), np.full(34, -1))
    )
    made = data.load("curves", data_dir=tmp_path)
    assert [len(part) for part in (made.train, made.valid, made.test)] == [20, 4, 10]
    assert (made.classes, made.input_shape) == ((), (1, 28, 28))
    assert set(made.train.labels.tolist()) == {-1}
    with np.load(tmp_path / "generated" / "curves.npz") as file:
        assert set(file) == {"X", "X_valid", "X_test"}
    monkeypatch.setattr(Curves, "generate", None)  # so that it cannot be generated again
    assert data.load("curves", data_dir=tmp_path).digest == made.digest
    assert data.load("npz:generated/curves.npz", data_dir=tmp_path).digest == made.digest
    assert len(data.load("curves", data_dir=tmp_path, limit=5).train) == 5


@pytest.mark.slow
def test_all_curves_are_the_published_ones(tmp_path: Path) -> None:
    """Which `load` verifies by SHA-256."""
    splits = data.load("curves", data_dir=tmp_path)
    assert [len(part) for part in (splits.train, splits.valid, splits.test)] == [20_000, 2_000, 10_000]
