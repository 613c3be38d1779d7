"""Image files of a user decoded to square uint8 arrays."""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stacked.data.image_files.encoded import EncodedImages, ImageFiles
from stacked.data.image_files.image_file import Encoded, open_image
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
#: number of unreadable images that a warning names
NAMED = 3
#: number of images for each thread that are decoded or wait for it, and bytes of the encoded ones among them, but for the last
AHEAD, AHEAD_BYTES = 8, 2**28


@dataclass(frozen=True)
class Decoded:
    """A decoded image, uint8 [C, size, size], and its largest 16-bit value (None for other images); or why there is none."""

    pixels: NDArray[np.uint8] | None = None
    brightest: int | None = None
    reason: str = ""


@dataclass
class Report:
    """What was noticed while images were decoded.

    unreadable: the place of each unreadable image in the order of decoding, and the reason. sixteen_bit: number of images with 16
    bits. brightest: the largest value in them.
    """

    unreadable: list[tuple[int, str]] = field(default_factory=list)
    sixteen_bit: int = 0
    brightest: int = 0

    def add(self, place: int, found: Decoded) -> None:
        """Add the image at this place of the order."""
        if found.pixels is None:
            self.unreadable.append((place, found.reason))
        if found.brightest is not None:
            self.sixteen_bit += 1
            self.brightest = max(self.brightest, found.brightest)

    def has_too_many_unreadable(self, most: float, total: int) -> bool:
        """Whether more than the share `most` (0 to 1) of `total` images are unreadable."""
        return len(self.unreadable) > most * total


def decode(path: Path, size: int, grey: bool, white_level: int | None = None) -> NDArray[np.uint8]:
    """Return the image as uint8 [C, size, size], with C = 1 if `grey`, else 3.

    The EXIF orientation is applied. 16-bit grey values are scaled to 8 bits so that `white_level` (None: 65,535) and anything
    above becomes 255. Transparent images are composed on white. The largest centred square is resized with antialiasing,
    which equals resizing the shorter side and cropping. Colour profiles are ignored; of an animation the first frame is
    used. Raises Pillow's errors, and ValueError for 32-bit pixels, for a white level with 16-bit colours, and for a path that
    is not a regular file.
    """
    return _decoded(path, size, grey, white_level)[0]


def _decoded(
    source: Encoded, size: int | None, grey: bool, white_level: int | None
) -> tuple[NDArray[np.uint8], int | None]:
    """Return the result of `decode`, or with size None the whole image, and its largest 16-bit value (None for other images)."""
    with DECODED_AT_ONCE.turn() as turn:
        found = _read(source, size, grey, white_level, turn.hold)
        if turn.held >= LARGE:
            return_freed_memory()  # before the next large image is decoded
    return found


def _read(
    source: Encoded, size: int | None, grey: bool, white_level: int | None, hold: Callable[[int], None]
) -> tuple[NDArray[np.uint8], int | None]:
    """Return what `_decoded` does. hold: function that waits until an image of this number of pixels may be decoded."""
    with open_image(source) as opened:
        hold(opened.width * opened.height)
        deep_grey = opened.mode == "I" and opened.format in ("PNG", "PPM")  # older Pillow's mode for 16-bit grey
        deep_colours = ";16" in str(opened.tile) and opened.mode in ("RGB", "RGBA", "LA")
        image: Image = upright(source, opened)
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


def upright(source: Encoded, opened: ImageFile) -> Image:
    """Load all pixels of an image opened from `source`, and apply its EXIF orientation in place."""
    from PIL import ImageOps

    load_whole(source, opened)
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


def decode_each(
    images: EncodedImages,
    order: Collection[int],
    size: int,
    grey: bool,
    white_level: int | None = None,
    max_megapixels: float | None = None,
) -> Generator[Decoded, None, None]:
    """Yield the images in this order, decoded, or why each cannot be; few of them are in memory at a time.

    One thread per core decodes; large images wait for one another, so that memory stays bounded. Options as of `decode_all`.
    Raises InputError for lack of memory, which says nothing of the image.
    """

    def attempt(number: int, source: Encoded) -> Decoded:
        try:
            return Decoded(*_decoded(source, size, grey, white_level))
        except MemoryError as error:
            raise lacks_memory(images.name(number)) from error
        except Exception as error:  # Pillow's decoders raise many types of errors on broken files; all are reported
            return Decoded(reason=reason_of(error))

    waiting: deque[tuple[int, Future[Decoded] | Decoded]] = deque()  # with the bytes of the encoded image
    held = 0

    def result() -> Decoded:
        nonlocal held
        taken, first = waiting.popleft()
        held -= taken
        return first if isinstance(first, Decoded) else first.result()

    threads = os.cpu_count() or 1
    with pixel_limit(max_megapixels), ThreadPoolExecutor(threads) as pool:
        try:
            for number in order:
                try:
                    source = images.read(number)
                except MemoryError as error:
                    raise lacks_memory(images.name(number)) from error
                except (OSError, ValueError) as error:  # what contains the image cannot be read
                    waiting.append((0, Decoded(reason=reason_of(error))))
                else:
                    taken = len(source) if isinstance(source, bytes) else 0
                    waiting.append((taken, pool.submit(attempt, number, source)))
                    held += taken
                while len(waiting) > AHEAD * threads or held > AHEAD_BYTES:
                    yield result()
            while waiting:
                yield result()
        finally:
            pool.shutdown(cancel_futures=True)


def lacks_memory(name: str) -> InputError:
    """Return the error for an image that cannot be read for lack of memory."""
    return InputError(f"there is too little memory to read {name}: end other programs, or leave it out")


def decode_to_memory(
    images: EncodedImages,
    order: Collection[int],
    size: int,
    grey: bool,
    white_level: int | None = None,
    max_megapixels: float | None = None,
) -> tuple[NDArray[np.uint8], Report]:
    """Return the readable images in this order, uint8 [N, C, size, size], and a report of all; options as of `decode_all`."""
    room, report, count = _room(len(order), 1 if grey else 3, size), Report(), 0
    with shown():
        every = through(
            decode_each(images, order, size, grey, white_level, max_megapixels), len(order), "reading images"
        )
        for place, found in enumerate(every):
            report.add(place, found)
            if found.pixels is not None:
                room[count] = found.pixels
                count += 1
    return room[:count], report


def decode_all(
    paths: Sequence[Path],
    size: int,
    grey: bool,
    white_level: int | None = None,
    max_megapixels: float | None = None,
) -> NDArray[np.uint8]:
    """Return all images as uint8 [N, C, size, size], and show on stderr how many are read.

    white_level: as in `decode`; a warning tells of 16-bit files that look like 12-bit ones. max_megapixels: the largest image
    that is read (None: Pillow's limit against decompression bombs, 89). Raises InputError naming the first unreadable image, by
    path, and the number of others, and if the images do not fit in memory.
    """
    images, order = ImageFiles(paths), range(len(paths))
    found, report = decode_to_memory(images, order, size, grey, white_level, max_megapixels)
    check_report(images, order, report, white_level)
    return found


def check_report(
    images: EncodedImages, order: Collection[int], report: Report, white_level: int | None, most: float = 0.0
) -> None:
    """Raise InputError that names an unreadable image if more than the share `most` (0 to 1) are unreadable; else warn of them.

    Warns if the white level does not suit 16-bit images.
    """
    count, total = len(report.unreadable), len(order)
    if count:
        numbers = list(order)
        named = [(images.name(numbers[place]), reason) for place, reason in report.unreadable]
        named.sort(key=lambda failure: Path(failure[0]).parts)  # whatever the order of decoding
        if report.has_too_many_unreadable(most, total):
            name, reason = named[0]
            others = f", nor can {count - 1} more" if count > 1 else ""
            limit = f" or allow more of them (--most-unreadable, {most:g} of {total:,} images)" if most else ""
            raise InputError(f"{name} cannot be read ({reason}){others}: repair or remove such files{limit}")
        listed = "; ".join(f"{name} ({reason})" for name, reason in named[:NAMED])
        rest = f"; and {count - NAMED:,} more" if count > NAMED else ""
        warnings.warn(
            printable(f"{count:,} of {total:,} images cannot be read and are left out: {listed}{rest}"), stacklevel=1
        )
    warn_of_white_level(images.where(), total, report, white_level)


def at_own_size(
    paths: Sequence[Path], grey: bool, white_level: int | None = None, max_megapixels: float | None = None
) -> Iterator[NDArray[np.uint8]]:
    """Yield each image as uint8 [C, H, W] in its own size; options and errors are those of `decode_all`."""
    report = Report()
    for place, path in enumerate(paths):
        try:
            with pixel_limit(max_megapixels):
                pixels, brightest = _decoded(path, None, grey, white_level)
        except Exception as error:
            raise InputError(f"{path} cannot be read ({reason_of(error)}): repair or remove it") from error
        report.add(place, Decoded(pixels, brightest))
        yield pixels
    warn_of_white_level(ImageFiles(paths).where(), len(paths), report, white_level)


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


def warn_of_white_level(where: str, total: int, report: Report, white_level: int | None) -> None:
    """Warn if the white level does not suit the largest values of the 16-bit images among `total` ones in `where`."""
    images = f"{report.sixteen_bit} of {total} images in {where}"
    if white_level is None and report.sixteen_bit and report.brightest <= TWELVE_BITS:
        message = (
            f"{images} have 16 bits and no value above {report.brightest:,}, so that they are read as nearly black; if they "
            f"hold 12-bit values, give white_level {TWELVE_BITS} (--white-level)"
        )
    elif white_level is not None and not report.sixteen_bit:
        message = f"{images} have 16 bits: the white level of {white_level:,} has no effect"
    else:
        return
    warnings.warn(printable(message), stacklevel=1)


def _room(count: int, channels: int, size: int) -> NDArray[np.uint8]:
    from torch import device

    from stacked.runtime.free_memory import free_bytes

    need = count * channels * size * size / 2**30
    try:
        if need > free_bytes(device("cpu")) / 2**30:
            raise MemoryError
        return np.empty((count, channels, size, size), dtype=np.uint8)
    except (MemoryError, ValueError) as error:  # ValueError: more bytes than can be addressed
        raise InputError(
            f"{count} images of {channels}x{size}x{size} need {need:,.1f} GiB of memory, more than is available: "
            "choose a smaller --image-size or fewer images, or give --disk-cache DIR, a folder that holds them in a file"
        ) from error
