"""Rectangles of one photograph on another that are taller or wider, with a user's photographs (Larochelle et al. 2007)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stacked.data.sources.generated.mnist_variation import patches
from stacked.data.sources.generated.on_photographs import OnPhotographs
from stacked.data.sources.generated.rect import SIDE, Rect, drawn_rectangles, inside

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stacked.data.formats.draws import Draws
    from stacked.data.formats.generated import Images

#: the shortest side of a rectangle and the least difference of its sides, in pixels; the percentages of the image it may cover
SHORTEST, LEAST, COVERS = 10, 5, (25, 75)


class RectImg(OnPhotographs):
    """A rectangle cut from a photograph, on a patch of another: is it wider than tall, or taller than wide?

    After rectangles-image. Height and width are uniform where both are at least 10, differ by at least 5 and cover 25 to 75 % of
    the image (these numbers are not confirmed), and so is the place. 10,000, 2,000 and 50,000 images. The authors'
    photographs are not published, so that numbers of papers on theirs cannot be compared with those on these.
    """

    name = "rect-img:PATH"
    classes = Rect.classes

    def generate(self, n: int, photographs: NDArray[np.uint8], draws: Draws) -> Images:
        """Draw rectangles, what is in them and what is behind them."""
        corners = _, _, heights, widths = drawn_rectangles(n, draws, is_allowed)
        inner, outer = patches(photographs, n, draws), patches(photographs, n, draws)
        return np.where(inside(*corners)[:, None], inner, outer), (heights > widths).astype(np.int64)


def is_allowed(heights: NDArray[np.int64], widths: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which rectangles are long, unequal and large enough, and not too large."""
    covered = 100 * heights * widths
    low, high = (percent * SIDE * SIDE for percent in COVERS)
    long = np.minimum(heights, widths) >= SHORTEST
    return long & (np.abs(heights - widths) >= LEAST) & (low <= covered) & (covered <= high)
