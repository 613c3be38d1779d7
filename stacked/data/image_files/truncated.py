"""Loading of whole images: detection of truncated files that Pillow accepts.

Pillow refuses most truncated files. But if the data end between two rows or strips it leaves the remaining pixels black, and
after an early end marker libjpeg paints them grey.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stacked.data.image_files.image_file import Encoded, content_of, open_image
from stacked.data.image_files.truncated_jpeg import jpeg_lacks_data
from stacked.data.image_files.truncated_tiff import tiff_lacks_data

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

SHORT = "image file is truncated"
#: side of the image corners that are compared: the size of a cell of interlaced PNG
CORNER = 8
#: the most pixels of a run-length encoded BMP, which Pillow decodes one by one in Python
MOST_RUN_LENGTH = 2**22


def load_whole(source: Encoded, image: ImageFile) -> None:
    """Load an image that was opened from `source`.

    Raises Pillow's errors, OSError if pixels are missing, and ValueError for what would take too long, a JPEG with too many
    scans or a run-length encoded BMP with too many pixels, and for rare kinds of JPEG in TIFF.
    """
    from PIL.TiffImagePlugin import TiffImageFile

    pixels = image.width * image.height
    if any(tile[0] == "bmp_rle" for tile in image.tile) and pixels > MOST_RUN_LENGTH:
        raise ValueError(
            f"it is a run-length encoded BMP of {pixels:,} pixels, more than {MOST_RUN_LENGTH:,}; save it as PNG"
        )
    if image.format in ("JPEG", "MPO"):
        missing = jpeg_lacks_data(content_of(source), image)
    else:
        missing = isinstance(image, TiffImageFile) and tiff_lacks_data(source, image)
        if not missing:
            image.load()
            missing = image.format in ("PNG", "TIFF") and _some_are_unwritten(source, image)
    if missing:
        raise OSError(SHORT)


def _some_are_unwritten(source: Encoded, image: Image) -> bool:
    """Whether corner pixels keep the colour of the canvas when the file is decoded again onto a white canvas."""
    import PIL.Image

    before = _corners(image)
    if all(corner.reshape(*corner.shape[:2], -1).any(2).all() for corner in before):
        return False  # every corner pixel was written, because the canvas is black
    with open_image(source) as again:
        bands = len(again.getbands())
        again.im = PIL.Image.new(again.mode, again.size, (255,) * bands if bands > 1 else 255).im
        again.load()
        return not all(np.array_equal(one, other) for one, other in zip(before, _corners(again), strict=True))


def _corners(image: Image) -> list[np.ndarray]:
    (width, height), side = image.size, CORNER
    lefts, tops = {0, max(0, width - side)}, {0, max(0, height - side)}
    return [np.asarray(image.crop((x, y, min(width, x + side), min(height, y + side)))) for x in lefts for y in tops]
