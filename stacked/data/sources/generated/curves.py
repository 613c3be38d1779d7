"""Strokes along curves through three random points, as Hinton & Salakhutdinov 2006 describe theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stacked.data.formats.generated import Generated, Images

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stacked.data.formats.draws import Draws

SIDE = 28
#: the points of a curve, and the pixels between the edge of an image and the square in which they lie
POINTS, MARGIN = 3, 4
#: bits of the fraction of a pixel in the place of a point, and in the place of the pen
FRACTION, PEN_FRACTION = 16, 8
#: places of the pen between two points of a curve, as a power of two
STEPS_BITS = 7
STEPS = 1 << STEPS_BITS
#: the radius of the pen, 1.5 pixels
RADIUS = 3 << (PEN_FRACTION - 1)
#: images that are drawn at a time, few enough for the processor's cache
BATCH = 512


class Curves(Generated):
    """Images of white strokes on black, each along a smooth curve through three random points, without classes.

    20,000 training, 2,000 validation and 10,000 test images; six numbers determine an image. The points are uniform in the
    middle 20 x 20 pixels. Two cubic Bézier curves join them with continuous curvature: the natural cubic spline, whose ends are
    straight. A round pen is set down at 257 places of the curve; its ink is 1 - (d / 1.5)² at a distance of d < 1.5 pixels, and a
    pixel has the most ink that reaches its centre.

    This is our own draw from a short description: images of 28 x 28 pixels in [0, 1], each a curve given by three random points,
    20,000 for training and 10,000 for testing. Which points and curves, the pen and the validation images are our choice.
    """

    name = "curves"
    sizes = (20_000, 2_000, 10_000)
    classes = ()
    seed = 2006
    sha256 = "52538bcf8ca13ea70913c0050402890157ed1c6851932f4bfa9c44f2f981f156"

    def generate(self, draws: Draws) -> Images:
        """Draw the strokes."""
        n = sum(self.sizes)
        return strokes(points(n, draws)), np.full(n, -1)


def points(n: int, draws: Draws) -> NDArray[np.int64]:
    """Return n times three points [n, 3, 2], (row, column) in units of 2**-16 pixels from the upper left corner."""
    most = (SIDE - 2 * MARGIN) << FRACTION
    return (MARGIN << FRACTION) + draws.integers(n * POINTS * 2, most).reshape(n, POINTS, 2)


def spline(through: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return 257 places [n, 257, 2] of the natural cubic splines through points [n, 3, 2], in units of 2**-8 pixels.

    With bend = first - 2 middle + last, the half from an end to the middle is, for t from 0 to 1,
    (1 - t) end + t middle + (t³ - t) bend / 4: its second derivative is 0 at the end, and 3/2 bend in the middle from both sides.
    """
    t = np.arange(STEPS + 1)[:, None]
    middle, bend = through[:, 1:2], (through[:, 0] - 2 * through[:, 1] + through[:, 2])[:, None]
    # in units of 2**-16 pixels / (4 STEPS³), which are exact; then rounded
    bits = 2 + 3 * STEPS_BITS + FRACTION - PEN_FRACTION
    halves = [
        4 * STEPS**2 * ((STEPS - t) * end + t * middle) + (t**3 - t * STEPS**2) * bend
        for end in (through[:, :1], through[:, 2:])
    ]
    first, last = ((half + (1 << (bits - 1))) >> bits for half in halves)
    return np.concatenate([first, last[:, -2::-1]], axis=1)


def strokes(through: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return images [n, 1, 28, 28] of strokes along the curves through points [n, 3, 2]."""
    parts = [through[first : first + BATCH] for first in range(0, len(through), BATCH)]
    return np.concatenate([inked(spline(part)) for part in parts])[:, None]


def inked(places: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return images [n, 28, 28] of a pen that is set down at places [n, k, 2], in units of 2**-8 pixels.

    The places must be a pixel or more away from the edges of the image.
    """
    nearest = np.full(len(places) * SIDE**2, RADIUS**2)  # the squared distance of each pixel's centre from the pen
    image = np.arange(len(places))[:, None] * SIDE**2
    # no centre outside of the 3 x 3 pixels around the pen is nearer than its radius of 1.5 pixels
    around = np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1]), axis=-1).reshape(-1, 2)
    for k in range(places.shape[1]):
        place = places[:, k, None]
        pixels = (place >> PEN_FRACTION) + around
        centres = (pixels << PEN_FRACTION) + (1 << (PEN_FRACTION - 1))
        index = image + pixels[..., 0] * SIDE + pixels[..., 1]
        nearest[index] = np.minimum(nearest[index], ((centres - place) ** 2).sum(-1))
    ink = (255 * (RADIUS**2 - nearest) + RADIUS**2 // 2) // RADIUS**2
    return ink.astype(np.uint8).reshape(-1, SIDE, SIDE)
