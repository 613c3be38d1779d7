"""MNIST turned by random angles (Larochelle et al. 2007)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stacked.data.sources.generated.mnist_variation import MnistVariation, turned

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stacked.data.formats.draws import Draws


class MnistRot(MnistVariation):
    """The images of mnist-basic, each turned about its centre by an angle that is uniform in [0, 2 pi).

    The authors' interpolation is not known; here it is linear.
    """

    name = "mnist-rot"
    sha256 = "855db76726bc00031a3e5846637ffce940a23f8b03732a992c4207d247630c30"

    def vary(self, images: NDArray[np.uint8], draws: Draws) -> NDArray[np.uint8]:
        """Return the images turned."""
        return turned(images, draws)
