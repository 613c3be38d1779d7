"""MNIST in front of noise (Larochelle et al. 2007)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stacked.data.sources.generated.mnist_variation import MnistVariation, with_background

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stacked.data.formats.draws import Draws


class MnistBgRand(MnistVariation):
    """The images of mnist-basic, whose background pixels are integers uniform in 0..255.

    The authors do not say which pixels are background; here they are those of value 0.
    """

    name = "mnist-bg-rand"
    sha256 = "1ee55126b3d985e9b729158e4e3865c8477c3089a345f393a15f93ee25596377"

    def vary(self, images: NDArray[np.uint8], draws: Draws) -> NDArray[np.uint8]:
        """Return the images in front of noise."""
        return with_background(images, draws.integers(images.size, 256).astype(np.uint8).reshape(images.shape))
