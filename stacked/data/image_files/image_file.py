"""Image files: which formats are read, how Pillow opens one, and PNG files.

Pillow reads more, but of the others some start another program (PostScript), are decoded by slow code (FITS), or are containers
whose image may end early without an error (ICO, ICNS).
"""

from __future__ import annotations

import io
import stat
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile
    from torch import Tensor

#: an encoded image: its file, or its bytes
Encoded: TypeAlias = "Path | bytes"

#: Pillow's names of the formats that are read: those of torchvision's ImageFolder, and GIF
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
NAMES = "BMP, GIF, JPEG, PNG, PPM, TIFF or WebP"
#: longest side that is read, in pixels: a row takes memory besides its pixels, so that narrow images take several times more
MOST_SIDE = 2**18


@cache
def extensions() -> frozenset[str]:
    """Return the file name extensions (lower case, with the dot) of the formats that are read."""
    from PIL import Image

    return frozenset(end for end, kind in Image.registered_extensions().items() if kind in FORMATS)


def open_image(source: Encoded | io.BytesIO) -> ImageFile:
    """Open an image of one of the FORMATS, whatever its name, without reading its pixels.

    Raises Pillow's errors, and ValueError for a path that is not a regular file and for a side above MOST_SIDE.
    """
    from PIL import Image, UnidentifiedImageError

    if isinstance(source, Path):
        regular(source)
    try:
        opened = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS)
    except UnidentifiedImageError as error:
        raise UnidentifiedImageError(f"cannot identify image file as {NAMES}") from error
    if max(opened.size) > MOST_SIDE:
        opened.close()
        width, height = opened.size
        raise ValueError(f"it has {width:,} x {height:,} pixels, and a side may have {MOST_SIDE:,}; cut it into parts")
    return opened


def content_of(source: Encoded) -> bytes:
    """Return the bytes of an encoded image."""
    return source if isinstance(source, bytes) else source.read_bytes()


def special_kind(path: Path) -> str | None:
    """Return what a path is that is no file, such as "pipe", without opening it; None for files, and where nothing is."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return None
    kinds = ((stat.S_ISFIFO, "pipe"), (stat.S_ISSOCK, "socket"), (stat.S_ISCHR, "device"), (stat.S_ISBLK, "device"))
    return next((name for is_one, name in kinds if is_one(mode)), None)


def regular(path: Path) -> None:
    """Raise ValueError unless the path is a regular file: reading from a pipe would block."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is not a file")


def png(image: Tensor) -> bytes:
    """Return an image, uint8 [C, H, W], as the bytes of a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    pixels = image.permute(1, 2, 0).squeeze(2) if image.shape[0] == 1 else image.permute(1, 2, 0)
    Image.fromarray(pixels.numpy()).save(buffer, "PNG")
    return buffer.getvalue()
