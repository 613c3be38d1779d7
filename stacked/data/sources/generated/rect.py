"""Rectangles that are taller or wider (Larochelle et al. 2007)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stacked.data.formats.generated import Generated, Images

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stacked.data.formats.draws import Draws

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
    heights = widths = np.empty(0, dtype=np.int64)
    while len(heights) < n:
        high, wide = 1 + draws.integers(n, SIDE), 1 + draws.integers(n, SIDE)
        kept = np.abs(high - wide) >= LEAST
        heights, widths = np.concatenate([heights, high[kept]]), np.concatenate([widths, wide[kept]])
    heights, widths = heights[:n], widths[:n]
    # a place of 2**20 that are equally likely, scaled to those where the rectangle fits
    top = draws.integers(n, 1 << 20) * (SIDE + 1 - heights) >> 20
    left = draws.integers(n, 1 << 20) * (SIDE + 1 - widths) >> 20
    return border(top, left, heights, widths)[:, None], (heights > widths).astype(np.int64)


def border(
    top: NDArray[np.int64], left: NDArray[np.int64], heights: NDArray[np.int64], widths: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """Return images [n, 28, 28] of the borders of rectangles with these upper left corners."""
    places = np.arange(SIDE)
    rows, columns = places[None, :, None], places[None, None, :]
    y, x, below, right = (each[:, None, None] for each in (top, left, top + heights - 1, left + widths - 1))
    is_inside = (y <= rows) & (rows <= below) & (x <= columns) & (columns <= right)
    is_edge = (rows == y) | (rows == below) | (columns == x) | (columns == right)
    return np.where(is_inside & is_edge, 255, 0).astype(np.uint8)
