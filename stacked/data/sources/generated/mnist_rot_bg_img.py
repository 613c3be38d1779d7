"""MNIST turned by random angles, in front of a user's photographs (Larochelle et al. 2007)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stacked.data.sources.generated.mnist_on_photographs import MnistOnPhotographs
from stacked.data.sources.generated.mnist_variation import turned

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stacked.data.formats.draws import Draws


class MnistRotBgImg(MnistOnPhotographs):
    """As mnist-bg-img, with the turned digits of mnist-rot."""

    name = "mnist-rot-bg-img:PATH"

    def vary(self, images: NDArray[np.uint8], draws: Draws) -> NDArray[np.uint8]:
        """Return the digits turned."""
        return turned(images, draws)
