"""Crops of the colour photographs bundled with scikit-image and scikit-learn: data at 224 x 224 pixels without a download."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stacked.data.formats.dataset import Dataset, Official, Source
from stacked.data.formats.split import Split
from stacked.data.image_files.image_file import open_image
from stacked.data.image_files.truncated import load_whole
from stacked.util.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

TRAIN = (
    "skimage/data/astronaut.png",
    "skimage/data/coffee.png",
    "skimage/data/hubble_deep_field.jpg",
    "skimage/data/ihc.png",
    "skimage/data/motorcycle_left.png",
    "skimage/data/retina.jpg",
    "sklearn/datasets/images/china.jpg",
)
#: photographs for test crops only
TEST = ("skimage/data/chelsea.png", "skimage/data/rocket.jpg", "sklearn/datasets/images/flower.jpg")
#: step between crops in pixels, and the most crops of a training and of a test photograph
STEP, MOST_TRAIN, MOST_TEST = 16, 120, 40


class Photographs(Dataset):
    """Crops of image_size x image_size pixels, 3 channels or 1 if grey, of ten photographs, without classes.

    Seven photographs are for training (a portrait, a cup of coffee, galaxies, stained tissue, a motorcycle, a retina, a temple)
    and three for testing (a cat, a rocket, a flower), so that no test crop shares a pixel with a training crop. Crops of one
    photograph overlap, and validation crops come from the training photographs. There are at most 120 and 40 crops of each,
    evenly spread. The READMEs of scikit-image (an optional dependency) and scikit-learn name the authors and licences.
    """

    name = "photographs"

    def load(self, source: Source) -> Official:
        """Cut the crops; InputError if scikit-image is missing or a crop is larger than a photograph."""
        return Official(_split(TRAIN, MOST_TRAIN, source), _split(TEST, MOST_TEST, source), ())


def _split(names: tuple[str, ...], most: int, source: Source) -> Split:
    import torch

    crops = np.concatenate([_crops(_read(name, source.grey), source.image_size, most, name) for name in names])
    return Split(torch.from_numpy(np.ascontiguousarray(crops)), torch.full((len(crops),), -1))


def _read(name: str, grey: bool) -> NDArray[np.uint8]:
    """Read a photograph as uint8 [C, H, W]."""
    package, _, rest = name.partition("/")
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise InputError("the photographs need the package scikit-image: pip install 'stacked[photographs]'")
    try:
        path = Path(found.origin).parent / rest
        with open_image(path) as image:
            load_whole(path, image)
            pixels = np.asarray(image.convert("L" if grey else "RGB"))
    except OSError as error:
        raise InputError(
            f"the installed version of {package} has no {rest}: install scikit-image 0.22 or newer, or give folder:PATH"
        ) from error
    return pixels[None] if grey else pixels.transpose(2, 0, 1)


def _crops(pixels: NDArray[np.uint8], side: int, most: int, name: str) -> NDArray[np.uint8]:
    """Return at most `most` crops [n, C, side, side], evenly spread over a grid."""
    height, width = pixels.shape[1:]
    if side > min(height, width):
        raise InputError(f"image_size={side} is larger than {Path(name).name}: choose at most {min(height, width)}")
    corners = [(y, x) for y in range(0, height - side + 1, STEP) for x in range(0, width - side + 1, STEP)]
    chosen = [corners[k * len(corners) // most] for k in range(most)] if len(corners) > most else corners
    return np.stack([pixels[:, y : y + side, x : x + side] for y, x in chosen])
