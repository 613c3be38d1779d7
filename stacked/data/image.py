"""One of a user's own images, whatever its format, as a square of bytes."""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stacked.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

IDENTIFIED_ONLY = frozenset({"BUFR", "GRIB", "HDF5", "MPEG"})
"""Formats that Pillow names but cannot decode by itself: data files and films, not images left out."""


@cache
def extensions() -> frozenset[str]:
    """The file name extensions (lower case, with the dot) of the formats that Pillow reads."""
    from PIL import Image

    known = Image.registered_extensions()
    return frozenset(end for end, kind in known.items() if kind in Image.OPEN and kind not in IDENTIFIED_ONLY)


def decode(path: Path, size: int, grey: bool) -> NDArray[np.uint8]:
    """The image as uint8 [C, size, size], C = 1 when `grey` else 3.

    Turned as its EXIF orientation says; 16-bit grey scaled to 8 bits; transparency laid on white; the largest
    centred square resized with antialiasing, which equals resizing the shorter side and cropping. Colour
    profiles are not applied; of an animation the first frame counts. Raises what Pillow raises, and
    ValueError for 32-bit pixels and for what is no file, such as a pipe.
    """
    from PIL import Image, ImageOps

    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is not a file")

    with Image.open(path) as opened:
        deep = opened.mode == "I" and opened.format in ("PNG", "PPM")  # older Pillow's mode for 16-bit grey
        image: Image.Image = ImageOps.exif_transpose(opened)
    if deep or image.mode.startswith("I;16"):
        image = Image.fromarray(np.round(np.asarray(image).astype(np.float64) * (255 / 65535)).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError(f"its pixels (mode {image.mode}) have no fixed white level; save it with 8 or 16 bits")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("L" if grey else "RGB")
    square = np.array(ImageOps.fit(image, (size, size), method=Image.Resampling.BILINEAR))
    return square[None] if grey else np.ascontiguousarray(square.transpose(2, 0, 1))


def decode_all(paths: Sequence[Path], size: int, grey: bool) -> NDArray[np.uint8]:
    """All images as uint8 [N, C, size, size], one thread a core, with a progress bar on a terminal.

    Raises InputError naming the first image, by path, that cannot be read and the count of the others (one with more
    pixels than Pillow's limit against decompression bombs is such), and when the images do not fit in memory.
    """
    from PIL import Image
    from tqdm import tqdm

    images = _room(len(paths), 1 if grey else 3, size)

    def attempt(position: int) -> str | None:
        try:
            images[position] = decode(paths[position], size, grey)
        except Exception as error:  # Pillow's decoders raise nearly anything on broken files; all is reported
            return " ".join(str(error).split()) or type(error).__name__
        return None

    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        results = pool.map(attempt, range(len(paths)))
        reasons = tqdm(results, "reading images", len(paths), leave=False, disable=None, delay=1)
        failures = [(path, reason) for path, reason in zip(paths, reasons, strict=True) if reason is not None]
    if failures:
        path, reason = min(failures, key=lambda failure: failure[0].parts)  # whatever the order of decoding
        others = f", nor can {len(failures) - 1} more" if len(failures) > 1 else ""
        raise InputError(f"{path} cannot be read ({reason}){others}: repair or remove what cannot be read")
    return images


def _room(count: int, channels: int, size: int) -> NDArray[np.uint8]:
    try:
        return np.empty((count, channels, size, size), dtype=np.uint8)
    except (MemoryError, ValueError) as error:  # ValueError: more bytes than an address has room for
        need = count * channels * size * size / 2**30
        raise InputError(
            f"{count} images of {channels}x{size}x{size} need {need:,.1f} GiB of memory, more than there is: "
            "choose a smaller --image-size or fewer images"
        ) from error
