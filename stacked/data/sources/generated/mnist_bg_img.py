"""MNIST in front of a user's photographs (Larochelle et al. 2007)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stacked.data.sources.generated.mnist_on_photographs import MnistOnPhotographs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stacked.data.formats.draws import Draws


class MnistBgImg(MnistOnPhotographs):
    """The images of mnist-basic in front of patches of the photographs in PATH: 10,000, 2,000 and 50,000 images.

    The authors' photographs are not published, so that numbers of papers on theirs cannot be compared with those on these.
    """

    name = "mnist-bg-img:PATH"

    def vary(self, images: NDArray[np.uint8], draws: Draws) -> NDArray[np.uint8]:
        """Return the images as they are."""
        return images
