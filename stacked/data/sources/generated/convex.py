"""White regions that are convex or not (Larochelle et al. 2007)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stacked.data.formats.draws import Draws
from stacked.data.formats.generated import Generated, Images

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 28
#: unions that are drawn at a time, of which convex ones are rejected
BATCH = 4_096
#: bits of the fraction of a pixel in the place of a half-plane
FRACTION = 16
#: for convex regions, and for the parts of other regions: (parameter of the geometric distribution of the number of half-planes,
#: fewest pixels)
CONVEX, PART = (0.195, 19), (0.07, 10)
#: the most parts of a region that is not convex
MOST_PARTS = 4


class Convex(Generated):
    """Images of white regions on black: is the region convex? 6,000 training, 2,000 validation and 50,000 test images.

    A convex region is an intersection of half-planes of uniform place and direction, whose number is geometric with parameter
    0.195, and has 19 pixels or more. Another region is a union of two to four such intersections, with parameter 0.07 and 10
    pixels or more each, that holds two pixels without the pixel halfway between them.

    The authors reject a whole intersection that is too small. If that is done here, mostly intersections of few half-planes
    remain, and regions are of 275 pixels on average if convex and of 470 if not, whereas those in the authors' images are about
    equal. Therefore a half-plane that would leave too few pixels is drawn again. The authors do not say which share of the
    images is convex, which is half here, nor which condition they check for each pair of pixels.
    """

    name = "convex"
    sizes = (6_000, 2_000, 50_000)
    classes = ("not convex", "convex")
    sha256 = "f86c6cf245b3b832f318839300732c26dca2663bd8a43b9e5638a88c2b84e393"

    def generate(self, draws: Draws) -> Images:
        """Draw the regions."""
        return regions(sum(self.sizes), draws)


def regions(n: int, draws: Draws) -> Images:
    """Return n images [n, 1, 28, 28] and their labels: 1 for n // 2 that are convex."""
    labels = (draws.permutation(n) < n // 2).astype(np.int64)
    images = np.zeros((n, SIDE, SIDE), dtype=bool)
    images[labels == 1] = intersections(n // 2, draws, *CONVEX)
    images[labels == 0] = unions(n - n // 2, draws)
    return np.where(images, 255, 0).astype(np.uint8)[:, None], labels


def intersections(n: int, draws: Draws, parameter: float, fewest: int) -> NDArray[np.bool_]:
    """Return n intersections [n, 28, 28] of half-planes that have at least `fewest` pixels; others are drawn again."""
    missing = draws.geometric(n, parameter)
    sets = np.ones((n, SIDE, SIDE), dtype=bool)
    while len(open_ := np.flatnonzero(missing)):
        smaller = sets[open_] & half_planes(len(open_), draws)
        is_kept = smaller.sum((1, 2)) >= fewest
        sets[open_[is_kept]] = smaller[is_kept]
        missing[open_[is_kept]] -= 1
    return sets


def half_planes(n: int, draws: Draws) -> NDArray[np.bool_]:
    """Return which pixels [n, 28, 28] lie in half-planes whose edge passes through a uniform point in a uniform direction."""
    cosines, sines = draws.directions(n)
    x, y = draws.integers(n, SIDE << FRACTION), draws.integers(n, SIDE << FRACTION)
    centres = (np.arange(SIDE) << FRACTION) + (1 << (FRACTION - 1))
    across = cosines[:, None] * (centres - x[:, None])
    along = sines[:, None] * (centres - y[:, None])
    return along[:, :, None] + across[:, None, :] >= 0


def unions(n: int, draws: Draws) -> NDArray[np.bool_]:
    """Return n unions [n, 28, 28] of two to four intersections that are not convex."""
    found: list[NDArray[np.bool_]] = []
    count = 0
    while count < n:
        parts = intersections(MOST_PARTS * BATCH, draws, *PART).reshape(BATCH, MOST_PARTS, SIDE, SIDE)
        numbers = 2 + draws.integers(BATCH, MOST_PARTS - 1)
        taken = np.arange(MOST_PARTS) < numbers[:, None]
        batch: NDArray[np.bool_] = np.logical_or.reduce(parts & taken[:, :, None, None], axis=1)
        found.append(batch[~is_convex(batch)])
        count += len(found[-1])
    return np.concatenate(found)[:n]


def is_convex(sets: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return for each set [n, 28, 28] whether it holds the pixel halfway between any two of its pixels, if there is one."""
    spectra = np.fft.rfft2(sets.astype(np.float64), (2 * SIDE, 2 * SIDE))
    pairs = np.fft.irfft2(spectra * spectra, (2 * SIDE, 2 * SIDE))[:, ::2, ::2]  # the number of pairs around each pixel
    missing: NDArray[np.bool_] = np.logical_or.reduce((pairs > 0.5) & ~sets, axis=(1, 2))
    return ~missing
