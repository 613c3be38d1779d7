"""Detection of compressed TIFF files whose data end early: libtiff completes JPEG data with grey."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stacked.data.image_files.image_file import Encoded, content_of, open_image
from stacked.data.image_files.truncated_jpeg import jpeg_lacks_data

if TYPE_CHECKING:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

#: tags of a TIFF file: its size, how its channels are stored, and where its parts are, which are strips or tiles
WIDTH, HEIGHT, COMPRESSION, CHANNELS, PLANES, JPEG_TABLES = 256, 257, 259, 277, 284, 347
STRIPS, STRIP_BYTES, STRIP_ROWS = 273, 279, 278
TILES, TILE_BYTES, TILE_WIDTH, TILE_HEIGHT = 324, 325, 322, 323
#: values of COMPRESSION, and that of PLANES for channels that are stored apart
RAW, OLD_JPEG, JPEG, APART = 1, 6, 7, 2
#: the most JPEG parts of an image; with the usual sizes of parts, the largest image that Pillow reads has about a thousand
MOST_PARTS = 10_000


def tiff_lacks_data(source: Encoded, image: TiffImageFile) -> bool:
    """Return whether a part of a compressed TIFF ends after its file, or is a JPEG that lacks data or rows.

    Raises Pillow's errors, and ValueError for two kinds of JPEG in TIFF in which missing data would not be noticed.
    """
    tags = image.tag_v2
    kind, together = tags.get(COMPRESSION, RAW), tags.get(CHANNELS, 1) if tags.get(PLANES) != APART else 1
    if kind == OLD_JPEG or (kind == JPEG and together == 2):
        rare = "of the obsolete kind, compression 6," if kind == OLD_JPEG else "of 2 channels,"
        raise ValueError(f"its JPEG data are {rare} in which missing ones are not noticed; save it as PNG")
    if kind == RAW:
        return False  # Pillow reads these by itself, and refuses short ones
    content = content_of(source)
    starts, lengths = (tags.get(tag, ()) for tag in ((TILES, TILE_BYTES) if TILES in tags else (STRIPS, STRIP_BYTES)))
    lengths = lengths or [max(0, len(content) - start) for start in starts]
    if any(start + length > len(content) for start, length in zip(starts, lengths, strict=True)):
        return True
    return kind == JPEG and _jpegs_lack_data(content, tags, starts, lengths)


def _jpegs_lack_data(
    content: bytes, tags: ImageFileDirectory_v2, starts: Sequence[int], lengths: Sequence[int]
) -> bool:
    """Return whether there are too few parts, or one of them, as a JPEG file with the tables of all, lacks data or rows."""
    parts, tables = _number_of_parts(tags), tags.get(JPEG_TABLES, b"")
    if parts > MOST_PARTS:  # before their sizes are listed, since a small file can name any number
        raise ValueError(f"it has {parts:,} JPEG parts, more than {MOST_PARTS:,}; save it as PNG")
    if len(starts) < parts:
        return True
    for start, length, (width, least, most) in zip(starts, lengths, _sizes(tags), strict=False):
        part = content[start : start + length]
        whole = tables[:-2] + part[2:] if tables else part  # without the end of the one and the start of the other
        with open_image(io.BytesIO(whole)) as opened:
            # larger ones libtiff refuses, and they could take as long as many images
            if opened.width != width or not least <= opened.height <= most or jpeg_lacks_data(whole, opened):
                return True
    return False


def _number_of_parts(tags: ImageFileDirectory_v2) -> int:
    """Return the number of strips or tiles of the image, in all planes."""
    width, height, planes = tags[WIDTH], tags[HEIGHT], tags.get(CHANNELS, 1) if tags.get(PLANES) == APART else 1
    if TILES in tags:
        return planes * -(-width // tags[TILE_WIDTH]) * -(-height // tags[TILE_HEIGHT])
    return planes * -(-height // min(tags.get(STRIP_ROWS, height), height))


def _sizes(tags: ImageFileDirectory_v2) -> list[tuple[int, int, int]]:
    """Return the width, the least height and the most of each part: the last strip may go on below the image."""
    width, height = tags[WIDTH], tags[HEIGHT]
    if TILES in tags:
        wide, high = tags[TILE_WIDTH], tags[TILE_HEIGHT]
        plane = [(wide, high, high)] * (-(-width // wide) * -(-height // high))
    else:
        rows = min(tags.get(STRIP_ROWS, height), height)
        plane = [(width, min(rows, height - top), rows) for top in range(0, height, rows)]
    return plane * (tags.get(CHANNELS, 1) if tags.get(PLANES) == APART else 1)
