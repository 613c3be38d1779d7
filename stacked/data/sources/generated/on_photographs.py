"""Sets that are generated with the photographs of a user (Larochelle et al. 2007): what they have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from stacked.data.formats.dataset import Dataset, Official, Source, check_below
from stacked.data.formats.draws import Draws
from stacked.data.formats.generated import Generated, Images, divided
from stacked.data.sources.generated.mnist_variation import SIDE
from stacked.data.sources.images.folder import named_images
from stacked.util.checks import need

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class OnPhotographs(Dataset):
    """Grey images 1x28x28 made with patches of photographs in PATH, which are read as grey squares of image_size pixels.

    A patch is at a uniform place of a uniformly drawn photograph. These data depend on the photographs: they are neither kept
    nor verified. classes: names of the labels.
    """

    decodes = True
    classes: ClassVar[tuple[str, ...]]

    @classmethod
    def check(cls, argument: str) -> None:
        """Raise InputError unless the path is relative and stays below the data directory."""
        check_below(cls.name.partition(":")[0], argument)

    def load(self, source: Source) -> Official:
        """Read the photographs and draw the images; InputError for photographs that are missing, unreadable or too small."""
        need(
            source.image_size >= SIDE,
            f"image_size={source.image_size} is smaller than a patch of {SIDE} pixels: give at least {SIDE} for {self.name}",
        )
        folder = source.data_dir / source.argument
        _, found = named_images(folder, source.image_size, True, source.white_level, source.max_megapixels)
        images, labels = self.generate(sum(Generated.sizes), found.numpy(), Draws(Generated.seed))
        return divided(images, labels, Generated.sizes, self.classes)

    @abstractmethod
    def generate(self, n: int, photographs: NDArray[np.uint8], draws: Draws) -> Images:
        """Return n images [n, 1, 28, 28] and their labels, made with grey photographs [N, 1, S, S]."""
