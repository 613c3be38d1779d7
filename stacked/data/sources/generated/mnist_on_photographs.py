"""Variations of MNIST in front of photographs of a user: what they have in common (Larochelle et al. 2007)."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from stacked.data.sources.generated.mnist_variation import CLASSES, drawn, patches, with_background
from stacked.data.sources.generated.on_photographs import OnPhotographs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stacked.data.formats.draws import Draws
    from stacked.data.formats.generated import Images


class MnistOnPhotographs(OnPhotographs):
    """The images of mnist-basic in front of patches of the photographs in PATH, which replace the pixels of value 0."""

    classes = CLASSES

    def generate(self, n: int, photographs: NDArray[np.uint8], draws: Draws) -> Images:
        """Draw digits and the patches behind them."""
        images, labels = drawn(n, draws)
        digits = self.vary(images, draws)
        return with_background(digits, patches(photographs, n, draws)), labels

    @abstractmethod
    def vary(self, images: NDArray[np.uint8], draws: Draws) -> NDArray[np.uint8]:
        """Return the digits [N, 1, 28, 28] that stand in front of the photographs."""
