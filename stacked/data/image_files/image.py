"""Image files of a user decoded to square uint8 arrays."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stacked.data.image_files.image_file import open_image
from stacked.data.image_files.pixel_budget import PixelBudget
from stacked.data.image_files.truncated import load_whole
from stacked.runtime.malloc import return_freed_memory
from stacked.runtime.progress import shown, through
from stacked.util.errors import InputError, printable

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

WHITE, TWELVE_BITS = 2**16 - 1, 2**12 - 1
"""The largest values of 16 bits and of 12 bits; many cameras and microscopes store 12-bit values in 16-bit files."""

#: number of 16-bit pixels that are scaled at a time
PART = 2**20
#: number of pixels that all threads decode at a time (five photographs of 12 megapixels), at 3 to 8 bytes a pixel
DECODED_AT_ONCE = PixelBudget(2**26)
#: number of pixels of an image whose memory is returned to the system when it is freed
LARGE = 2**24


def decode(path: Path, size: int, grey: bool, white_level: int | None = None) -> NDArray[np.uint8]:
    """Return the image as uint8 [C, size, size], with C = 1 if `grey`, else 3.

    The EXIF orientation is applied. 16-bit grey values are scaled to 8 bits so that `white_level` (None: 65,535) and anything
    above becomes 255. Transparent images are composed on white. The largest centred square is resized with antialiasing,
    which equals resizing the shorter side and cropping. Colour profiles are ignored; of an animation the first frame is
    used. Raises Pillow's errors, and ValueError for 32-bit pixels, for a white level with 16-bit colours, and for a path that
    is not a regular file.
    """
    return _decoded(path, size, grey, white_level)[0]


def _decoded(path: Path, size: int | None, grey: bool, white_level: int | None) -> tuple[NDArray[np.uint8], int | None]:
    """Return the result of `decode`, or with size None the whole image, and its largest 16-bit value (None for other images)."""
    with DECODED_AT_ONCE.turn() as turn:
        found = _read(path, size, grey, white_level, turn.hold)
        if turn.held >= LARGE:
            return_freed_memory()  # before the next large image is decoded
    return found


def _read(
    path: Path, size: int | None, grey: bool, white_level: int | None, hold: Callable[[int], None]
) -> tuple[NDArray[np.uint8], int | None]:
    """Return what `_decoded` does. hold: function that waits until an image of this number of pixels may be decoded."""
    with open_image(path) as opened:
        hold(opened.width * opened.height)
        deep_grey = opened.mode == "I" and opened.format in ("PNG", "PPM")  # older Pillow's mode for 16-bit grey
        deep_colours = ";16" in str(opened.tile) and opened.mode in ("RGB", "RGBA", "LA")
        image: Image = upright(path, opened)
        largest = None
        if deep_grey or image.mode.startswith("I;16"):
            image, largest = _eight_bits(image, white_level or WHITE)
        elif image.mode in ("I", "F"):
            raise ValueError(f"its pixels (mode {image.mode}) have no fixed white level; save it with 8 or 16 bits")
        elif deep_colours:
            if white_level is not None:
                raise ValueError(
                    "Pillow reads the upper 8 bits of 16-bit colours, to which no white level applies; save it as grey"
                )
            opaque = np.asarray(image)[..., : len(image.getbands()) - ("A" in image.getbands())]
            largest = 257 * int(opaque.max())
        return _pixels(image, size, grey), largest


def _pixels(image: Image, size: int | None, grey: bool) -> NDArray[np.uint8]:
    """Return an image of 8 bits as `decode` does; at its own size if `size` is None."""
    from PIL import Image, ImageOps

    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    wanted = "L" if grey else "RGB"
    image = image if image.mode == wanted else image.convert(wanted)
    fitted = ImageOps.fit(image, (size, size), method=Image.Resampling.BILINEAR) if size else image
    pixels = np.array(fitted)
    return pixels[None] if grey else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def upright(path: Path, opened: ImageFile) -> Image:
    """Load all pixels of an image opened from `path`, and apply its EXIF orientation in place."""
    from PIL import ImageOps

    load_whole(path, opened)
    ImageOps.exif_transpose(opened, in_place=True)
    return opened


def _eight_bits(image: Image, white: int) -> tuple[Image, int]:
    """Scale a 16-bit image so that `white` and above become 255; return it and its largest value.

    Rows are scaled in parts, since the index array takes 8 bytes a pixel.
    """
    from PIL import Image

    levels = np.round(np.minimum(np.arange(WHITE + 1), white) * (255 / white)).astype(np.uint8)
    found, largest, rows = np.empty((image.height, image.width), dtype=np.uint8), 0, max(1, PART // image.width)
    for top in range(0, image.height, rows):
        values = np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))
        largest = max(largest, int(values.max()))
        found[top : top + rows] = levels[np.clip(values, 0, WHITE)]
    return Image.fromarray(found), largest


def decode_all(
    paths: Sequence[Path],
    size: int,
    grey: bool,
    white_level: int | None = None,
    max_megapixels: float | None = None,
) -> NDArray[np.uint8]:
    """Return all images as uint8 [N, C, size, size], and show on stderr how many are read.

    One thread per core decodes; large images wait for one another, so that memory stays bounded.
    white_level: as in `decode`; a warning tells of 16-bit files that look like 12-bit ones. max_megapixels: the largest image
    that is read (None: Pillow's limit against decompression bombs, 89). Raises InputError naming the first unreadable image, by
    path, and the number of others, and if the images do not fit in memory.
    """
    images = _room(len(paths), 1 if grey else 3, size)
    largest: list[int | None] = [None] * len(paths)

    def attempt(position: int) -> str | None:
        try:
            images[position], largest[position] = _decoded(paths[position], size, grey, white_level)
        except Exception as error:  # Pillow's decoders raise many types of errors on broken files; all are reported
            return reason_of(error)
        return None

    with pixel_limit(max_megapixels), ThreadPoolExecutor(os.cpu_count()) as pool, shown():
        results = pool.map(attempt, range(len(paths)))
        reasons = through(results, len(paths), "reading images")
        failures = [(path, reason) for path, reason in zip(paths, reasons, strict=True) if reason is not None]
    if failures:
        path, reason = min(failures, key=lambda failure: failure[0].parts)  # whatever the order of decoding
        others = f", nor can {len(failures) - 1} more" if len(failures) > 1 else ""
        raise InputError(f"{path} cannot be read ({reason}){others}: repair or remove such files")
    _warn_of_white_level(paths, [value for value in largest if value is not None], white_level)
    return images


def at_own_size(
    paths: Sequence[Path], grey: bool, white_level: int | None = None, max_megapixels: float | None = None
) -> Iterator[NDArray[np.uint8]]:
    """Yield each image as uint8 [C, H, W] in its own size; options and errors are those of `decode_all`."""
    largest = []
    for path in paths:
        try:
            with pixel_limit(max_megapixels):
                pixels, brightest = _decoded(path, None, grey, white_level)
        except Exception as error:
            raise InputError(f"{path} cannot be read ({reason_of(error)}): repair or remove it") from error
        largest += [] if brightest is None else [brightest]
        yield pixels
    _warn_of_white_level(paths, largest, white_level)


def reason_of(error: Exception) -> str:
    """Return the reason why an image could not be read."""
    from PIL import Image

    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, (Image.DecompressionBombWarning, Image.DecompressionBombError)):
        return f"{reason.rstrip('.')}; if it is a genuine image, give max_megapixels (--max-megapixels) above its size"
    return reason


@contextmanager
def pixel_limit(megapixels: float | None) -> Iterator[None]:
    """Context in which Pillow opens images of up to this many megapixels (None: its own limit) and raises for larger ones."""
    from PIL import Image

    before = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            Image.MAX_IMAGE_PIXELS = before if megapixels is None else int(1e6 * megapixels)
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _warn_of_white_level(paths: Sequence[Path], largest: list[int], white_level: int | None) -> None:
    """Warn if the white level does not suit the `largest` values of the 16-bit images."""
    images = (
        f"{len(largest)} of {len(paths)} images in {Path(os.path.commonpath(paths)) if len(paths) > 1 else paths[0]}"
    )
    if white_level is None and largest and max(largest) <= TWELVE_BITS:
        message = (
            f"{images} have 16 bits and no value above {max(largest):,}, so that they are read as nearly black; if they "
            f"hold 12-bit values, give white_level {TWELVE_BITS} (--white-level)"
        )
    elif white_level is not None and not largest:
        message = f"{images} have 16 bits: the white level of {white_level:,} has no effect"
    else:
        return
    warnings.warn(printable(message), stacklevel=1)


def _room(count: int, channels: int, size: int) -> NDArray[np.uint8]:
    try:
        return np.empty((count, channels, size, size), dtype=np.uint8)
    except (MemoryError, ValueError) as error:  # ValueError: more bytes than can be addressed
        need = count * channels * size * size / 2**30
        raise InputError(
            f"{count} images of {channels}x{size}x{size} need {need:,.1f} GiB of memory, more than is available: "
            "choose a smaller --image-size or fewer images"
        ) from error
