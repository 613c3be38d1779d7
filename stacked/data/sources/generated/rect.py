"""Rectangles that are taller or wider (Larochelle et al. 2007)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from stacked.data.formats.generated import Generated, Images

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stacked.data.formats.draws import Draws

    Whole: TypeAlias = NDArray[np.int64]
    #: of n rectangles: upper and left edge, height and width
    Corners: TypeAlias = tuple[Whole, Whole, Whole, Whole]
    #: function from heights and widths to which rectangles are drawn
    Allows: TypeAlias = Callable[[Whole, Whole], NDArray[np.bool_]]

SIDE = 28
#: the least difference between height and width
LEAST = 3


class Rect(Generated):
    """Images of a white border, one pixel wide, of a rectangle on black: is it wider than tall, or taller than wide?

    Height and width are uniform in 1..28 where they differ by at least 3 (that number is not confirmed), and so is the place of
    the rectangle where it fits. 1,000 training, 200 validation and 50,000 test images, as in the published files.
    """

    name = "rect"
    sizes = (1_000, 200, 50_000)
    classes = ("wider", "taller")
    sha256 = "33f99b78eb1219168f3be95861ab40748a7657181984c2c077dc8c447d750d9d"

    def generate(self, draws: Draws) -> Images:
        """Draw the rectangles."""
        return rectangles(sum(self.sizes), draws)


def rectangles(n: int, draws: Draws) -> Images:
    """Return n images [n, 1, 28, 28] and their labels: 1 if taller."""
    corners = _, _, heights, widths = drawn_rectangles(n, draws, lambda high, wide: np.abs(high - wide) >= LEAST)
    return border(*corners)[:, None], (heights > widths).astype(np.int64)


def drawn_rectangles(n: int, draws: Draws, is_allowed: Allows) -> Corners:
    """Return n rectangles that are allowed, all equally likely, at places where they fit, all equally likely."""
    heights = widths = np.empty(0, dtype=np.int64)
    while len(heights) < n:
        high, wide = 1 + draws.integers(n, SIDE), 1 + draws.integers(n, SIDE)
        kept = is_allowed(high, wide)
        heights, widths = np.concatenate([heights, high[kept]]), np.concatenate([widths, wide[kept]])
    heights, widths = heights[:n], widths[:n]
    # a place of 2**20 that are equally likely, scaled to those where the rectangle fits
    top = draws.integers(n, 1 << 20) * (SIDE + 1 - heights) >> 20
    left = draws.integers(n, 1 << 20) * (SIDE + 1 - widths) >> 20
    return top, left, heights, widths


def inside(top: Whole, left: Whole, heights: Whole, widths: Whole) -> NDArray[np.bool_]:
    """Return masks [n, 28, 28] of the pixels of rectangles with these upper left corners."""
    places = np.arange(SIDE)
    rows, columns = places[None, :, None], places[None, None, :]
    y, x, high, wide = (each[:, None, None] for each in (top, left, heights, widths))
    found: NDArray[np.bool_] = (y <= rows) & (rows < y + high) & (x <= columns) & (columns < x + wide)
    return found


def border(top: Whole, left: Whole, heights: Whole, widths: Whole) -> NDArray[np.uint8]:
    """Return images [n, 28, 28] of the borders of rectangles with these upper left corners."""
    one = np.ones_like(top)
    core = inside(top + one, left + one, heights - 2, widths - 2)
    return np.where(inside(top, left, heights, widths) & ~core, 255, 0).astype(np.uint8)
