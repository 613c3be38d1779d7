"""A part of MNIST of the size of its variations (Larochelle et al. 2007)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stacked.data.sources.generated.mnist_variation import MnistVariation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stacked.data.formats.draws import Draws


class MnistBasic(MnistVariation):
    """10,000 training, 2,000 validation and 50,000 test images of MNIST, unchanged."""

    name = "mnist-basic"
    sha256 = "9d6ca9018e46e2dcb25eb4188e1b3aa4147b1a45fdfdb19c87abd4772413940c"

    def vary(self, images: NDArray[np.uint8], draws: Draws) -> NDArray[np.uint8]:
        """Return the images as they are."""
        return images
