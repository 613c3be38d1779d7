"""Variations of MNIST (Larochelle et al. 2007): 62,000 of its 70,000 images, turned, or in front of a background."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from stacked.data.formats.draws import ONE, Draws
from stacked.data.formats.generated import Generated, Images
from stacked.data.formats.idx import IdxFolder
from stacked.data.sources.images import mnist

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 28
CLASSES = tuple("0123456789")
#: images that are turned at a time
CHUNK = 2_000
#: bits of the weights of neighbouring pixels
BITS = 10


class MnistVariation(Generated):
    """10,000 training, 2,000 validation and 50,000 test images made of MNIST's.

    Which images the authors took is not known; here they are drawn, without replacement, from training and test images together,
    the same for all variations.
    """

    classes = CLASSES

    def generate(self, draws: Draws) -> Images:
        """Draw images of MNIST and vary them."""
        images, labels = drawn(sum(self.sizes), draws)
        return self.vary(images, draws), labels

    @abstractmethod
    def vary(self, images: NDArray[np.uint8], draws: Draws) -> NDArray[np.uint8]:
        """Return the varied images [N, 1, 28, 28]."""


def drawn(n: int, draws: Draws) -> Images:
    """Return n images of MNIST [n, 1, 28, 28] and their labels, drawn from training and test images together."""
    official = IdxFolder(mnist.bundled(), mnist.SHA256, "reinstall the package").read(CLASSES)
    images = np.concatenate([official.train.inputs.numpy(), official.test.inputs.numpy()])
    labels = np.concatenate([official.train.labels.numpy(), official.test.labels.numpy()])
    chosen = draws.permutation(len(images))[:n]
    return images[chosen], labels[chosen]


def patches(photographs: NDArray[np.uint8], n: int, draws: Draws) -> NDArray[np.uint8]:
    """Return n patches [n, 1, 28, 28] at uniform places of uniformly drawn grey photographs [N, 1, S, S]."""
    places = photographs.shape[-1] - SIDE + 1
    chosen, top, left = draws.integers(n, len(photographs)), draws.integers(n, places), draws.integers(n, places)
    windows = np.lib.stride_tricks.sliding_window_view(photographs, (SIDE, SIDE), axis=(2, 3))
    return windows[chosen, :, top, left]


def turned(images: NDArray[np.uint8], draws: Draws) -> NDArray[np.uint8]:
    """Return images [N, 1, 28, 28] turned about their centre by angles uniform in [0, 2 pi), pixels outside 0.

    A pixel is interpolated linearly between the four nearest, in integers, so that all machines give the same result.
    """
    cosines, sines = draws.directions(len(images))
    found = np.empty_like(images)
    for start in range(0, len(images), CHUNK):
        part = slice(start, start + CHUNK)
        found[part, 0] = turned_by(images[part, 0], cosines[part], sines[part])
    return found


def turned_by(images: NDArray[np.uint8], cosines: NDArray[np.int64], sines: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return images [N, 28, 28] turned anticlockwise, as they are shown, by angles with these cosines and sines times ONE."""
    # twice the coordinates relative to the centre: odd integers
    down, right = np.meshgrid(2 * np.arange(SIDE) - SIDE + 1, 2 * np.arange(SIDE) - SIDE + 1, indexing="ij")
    c, s = cosines[:, None, None], sines[:, None, None]
    # where a pixel comes from, in units of 1 / (2 ONE) pixels, with a border of two pixels around the image
    x = ((SIDE - 1 + 4) * ONE) + c * right - s * down
    y = ((SIDE - 1 + 4) * ONE) + s * right + c * down
    size = 2 * ONE
    shift = size.bit_length() - 1 - BITS
    x, y = np.clip(x, 0, (SIDE + 2) * size), np.clip(y, 0, (SIDE + 2) * size)
    left, top = x // size, y // size
    to_right, below = (x % size) >> shift, (y % size) >> shift
    bordered = np.pad(images, ((0, 0), (2, 2), (2, 2))).astype(np.int64)
    n = np.arange(len(images))[:, None, None]
    most = 1 << BITS
    total = (most - below) * (
        (most - to_right) * bordered[n, top, left] + to_right * bordered[n, top, left + 1]
    ) + below * ((most - to_right) * bordered[n, top + 1, left] + to_right * bordered[n, top + 1, left + 1])
    return ((total + (1 << (2 * BITS - 1))) >> (2 * BITS)).astype(np.uint8)


def with_background(images: NDArray[np.uint8], background: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return images whose pixels of value 0 are replaced by those of a background of the same shape."""
    return np.where(images == 0, background, images)
