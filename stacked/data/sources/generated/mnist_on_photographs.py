"""Variations of MNIST in front of photographs of a user: what they have in common (Larochelle et al. 2007)."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from stacked.data.formats.dataset import Dataset, Official, Source, check_below
from stacked.data.formats.draws import Draws
from stacked.data.formats.generated import Generated, divided
from stacked.data.sources.generated.mnist_variation import CLASSES, SIDE, drawn, patches, with_background
from stacked.data.sources.images.folder import named_images
from stacked.util.checks import need

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class MnistOnPhotographs(Dataset):
    """The images of mnist-basic in front of patches of photographs in PATH, read as grey squares of image_size pixels.

    A patch is at a uniform place of a uniformly drawn photograph, and replaces the pixels of value 0. These data depend on the
    photographs: they are neither kept nor verified.
    """

    decodes = True

    @classmethod
    def check(cls, argument: str) -> None:
        """Raise InputError unless the path is relative and stays below the data directory."""
        check_below(cls.name.partition(":")[0], argument)

    def load(self, source: Source) -> Official:
        """Read the photographs and draw the images; InputError for photographs that are missing, unreadable or too small."""
        need(
            source.image_size >= SIDE,
            f"image_size={source.image_size} is smaller than a digit: give at least {SIDE} for {self.name}",
        )
        folder = source.data_dir / source.argument
        _, found = named_images(folder, source.image_size, True, source.white_level, source.max_megapixels)
        draws = Draws(Generated.seed)
        images, labels = drawn(sum(Generated.sizes), draws)
        digits = self.vary(images, draws)
        background = patches(found.numpy(), len(images), draws)
        return divided(with_background(digits, background), labels, Generated.sizes, CLASSES)

    @abstractmethod
    def vary(self, images: NDArray[np.uint8], draws: Draws) -> NDArray[np.uint8]:
        """Return the digits [N, 1, 28, 28] that stand in front of the photographs."""
