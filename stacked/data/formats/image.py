"""One of a user's own images, whatever its format, as a square of bytes."""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stacked.data.formats.pixel_budget import PixelBudget
from stacked.data.formats.truncated import load_whole
from stacked.runtime.malloc import return_freed_memory
from stacked.util.errors import InputError, printable

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

IDENTIFIED_ONLY = frozenset({"BUFR", "GRIB", "HDF5", "MPEG"})
"""Formats that Pillow names but cannot decode by itself: data files and films, not images left out."""
WHITE, TWELVE_BITS = 2**16 - 1, 2**12 - 1
"""The largest value of 16 bits, and of 12, which cameras and microscopes give in files of 16."""

#: pixels of 16 bits that are scaled at once
PART = 2**20
#: Threads decode images of so many pixels in all at a time (five photographs of 12 megapixels), at 3 to 8 bytes a pixel.
DECODED_AT_ONCE = PixelBudget(2**26)
#: pixels of an image of which the process may not keep the freed memory
LARGE = 2**24


@cache
def extensions() -> frozenset[str]:
    """The file name extensions (lower case, with the dot) of the formats that Pillow reads."""
    from PIL import Image

    known = Image.registered_extensions()
    return frozenset(end for end, kind in known.items() if kind in Image.OPEN and kind not in IDENTIFIED_ONLY)


def decode(path: Path, size: int, grey: bool, white_level: int | None = None) -> NDArray[np.uint8]:
    """The image as uint8 [C, size, size], C = 1 when `grey` else 3.

    Turned as its EXIF orientation says; 16-bit grey scaled to 8 bits, `white_level` (None: 65,535) and what is above it to
    255; transparency laid on white; the largest centred square resized with antialiasing, which equals resizing the shorter
    side and cropping. Colour profiles are not applied; of an animation the first frame counts. Raises what Pillow raises, and
    ValueError for 32-bit pixels, a white level of 16-bit colours, and for what is no file, such as a pipe.
    """
    return _decoded(path, size, grey, white_level)[0]


def _decoded(path: Path, size: int | None, grey: bool, white_level: int | None) -> tuple[NDArray[np.uint8], int | None]:
    """What `decode` gives, or without a `size` the whole image at its own; and its largest value of 16 bits, None without any."""
    with DECODED_AT_ONCE.turn() as turn:
        found = _read(path, size, grey, white_level, turn.hold)
        if turn.held >= LARGE:
            return_freed_memory()  # before the next large image is decoded
    return found


def _read(
    path: Path, size: int | None, grey: bool, white_level: int | None, hold: Callable[[int], None]
) -> tuple[NDArray[np.uint8], int | None]:
    """As `_decoded`; `hold` waits until an image of so many pixels may be decoded, and nothing of it is left on return."""
    from PIL import Image

    regular(path)
    with Image.open(path) as opened:
        hold(opened.width * opened.height)
        deep_grey = opened.mode == "I" and opened.format in ("PNG", "PPM")  # older Pillow's mode for 16-bit grey
        deep_colours = ";16" in str(opened.tile) and opened.mode in ("RGB", "RGBA", "LA")
        image: Image.Image = upright(path, opened)
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
    """An image of 8 bits as `decode` gives it, or without a `size` at its own."""
    from PIL import Image, ImageOps

    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    wanted = "L" if grey else "RGB"
    image = image if image.mode == wanted else image.convert(wanted)
    fitted = ImageOps.fit(image, (size, size), method=Image.Resampling.BILINEAR) if size else image
    pixels = np.array(fitted)
    return pixels[None] if grey else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def regular(path: Path) -> None:
    """Raise ValueError for what is no file, such as a pipe, for which a reader would wait."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is not a file")


def upright(path: Path, opened: ImageFile) -> Image:
    """An image that was opened from `path`, all its pixels loaded, and turned in place as its EXIF orientation says."""
    from PIL import ImageOps

    load_whole(path, opened)
    ImageOps.exif_transpose(opened, in_place=True)
    return opened


def _eight_bits(image: Image, white: int) -> tuple[Image, int]:
    """An image of 16 bits scaled so that `white`, and what is above it, is 255; and its largest value.

    Rows are scaled in parts, as the indices take 8 bytes a pixel.
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
    """All images as uint8 [N, C, size, size], one thread a core, large images in turn, with a progress bar on a terminal.

    white_level: as of `decode`; it warns where 16-bit files look like 12-bit ones. max_megapixels: the largest image that is
    read (None: Pillow's limit against decompression bombs, 89). Raises InputError naming the first image, by path, that cannot
    be read and the count of the others, and when the images do not fit in memory.
    """
    from tqdm import tqdm

    images = _room(len(paths), 1 if grey else 3, size)
    largest: list[int | None] = [None] * len(paths)

    def attempt(position: int) -> str | None:
        try:
            images[position], largest[position] = _decoded(paths[position], size, grey, white_level)
        except Exception as error:  # Pillow's decoders raise nearly anything on broken files; all is reported
            return reason_of(error)
        return None

    with pixel_limit(max_megapixels), ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(attempt, range(len(paths)))
        reasons = tqdm(results, "reading images", len(paths), leave=False, disable=None, delay=1)
        failures = [(path, reason) for path, reason in zip(paths, reasons, strict=True) if reason is not None]
    if failures:
        path, reason = min(failures, key=lambda failure: failure[0].parts)  # whatever the order of decoding
        others = f", nor can {len(failures) - 1} more" if len(failures) > 1 else ""
        raise InputError(f"{path} cannot be read ({reason}){others}: repair or remove what cannot be read")
    _judge_white(paths, [value for value in largest if value is not None], white_level)
    return images


def at_own_size(
    paths: Sequence[Path], grey: bool, white_level: int | None = None, max_megapixels: float | None = None
) -> Iterator[NDArray[np.uint8]]:
    """Each image as uint8 [C, H, W] of its own height and width, one after the other; options and errors as of `decode_all`."""
    largest = []
    for path in paths:
        try:
            with pixel_limit(max_megapixels):
                pixels, brightest = _decoded(path, None, grey, white_level)
        except Exception as error:
            raise InputError(f"{path} cannot be read ({reason_of(error)}): repair or remove it") from error
        largest += [] if brightest is None else [brightest]
        yield pixels
    _judge_white(paths, largest, white_level)


def reason_of(error: Exception) -> str:
    """Why an image could not be read."""
    from PIL import Image

    told = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, (Image.DecompressionBombWarning, Image.DecompressionBombError)):
        return f"{told.rstrip('.')}; where it is none, give max_megapixels (--max-megapixels) that allow its size"
    return told


@contextmanager
def pixel_limit(megapixels: float | None) -> Iterator[None]:
    """Let Pillow open images of so many megapixels at most (None: as before), and raise for larger ones, where it would warn."""
    from PIL import Image

    before = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            Image.MAX_IMAGE_PIXELS = before if megapixels is None else int(1e6 * megapixels)
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _judge_white(paths: Sequence[Path], largest: list[int], white_level: int | None) -> None:
    """Warn of a white level that does not suit the `largest` values of those images that have 16 bits."""
    where = (
        f"{len(largest)} of {len(paths)} images in {Path(os.path.commonpath(paths)) if len(paths) > 1 else paths[0]}"
    )
    if white_level is None and largest and max(largest) <= TWELVE_BITS:
        told = (
            f"{where} have 16 bits, of which the largest value is {max(largest):,}: they are read as nearly black; if they "
            f"hold 12 bits, give white_level {TWELVE_BITS} (--white-level)"
        )
    elif white_level is not None and not largest:
        told = f"{where} have 16 bits: the white level of {white_level:,} has no effect"
    else:
        return
    warnings.warn(printable(told), stacklevel=1)


def _room(count: int, channels: int, size: int) -> NDArray[np.uint8]:
    try:
        return np.empty((count, channels, size, size), dtype=np.uint8)
    except (MemoryError, ValueError) as error:  # ValueError: more bytes than an address has room for
        need = count * channels * size * size / 2**30
        raise InputError(
            f"{count} images of {channels}x{size}x{size} need {need:,.1f} GiB of memory, more than there is: "
            "choose a smaller --image-size or fewer images"
        ) from error
