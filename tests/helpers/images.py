"""Images whose pixels are known: coloured quarters, the chunks of a PNG, folders of classes."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from stacked import data

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
UPRIGHT = [RED, GREEN, BLUE, WHITE]
STORED = {  # how an upright image is stored for each orientation tag, as a PIL transposition
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def quarters() -> Image.Image:
    """An 8x8 image: red and green above, blue and white below."""
    image = Image.new("RGB", (8, 8))
    for colour, corner in ((RED, (0, 0)), (GREEN, (4, 0)), (BLUE, (0, 4)), (WHITE, (4, 4))):
        image.paste(colour, (*corner, corner[0] + 4, corner[1] + 4))
    return image


def corners(image: np.ndarray) -> list[tuple[int, ...]]:
    """The pixels at the four corners: above left, above right, below left, below right."""
    return [tuple(image[:, y, x].tolist()) for y in (0, -1) for x in (0, -1)]


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, bits: int, kind: int, chunks: bytes) -> bytes:
    """A PNG of this size, bits a value and kind of colour, with these chunks between its head and its end."""
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunks + chunk(b"IEND", b"")


def paint(path: Path, value: int, size: tuple[int, int] = (20, 10)) -> Path:
    """Write an image all of whose pixels are (value, value, 255 - value)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, 255 - value)).save(path)
    return path


def classes(root: Path, count: int, *names: str, start: int = 0) -> Path:
    for position, name in enumerate(names):
        for i in range(count):
            paint(root / name / f"{i}.png", start + 50 * position + i)
    return root


def flat(folder: Path, count: int) -> Path:
    for i in range(count):
        paint(folder / f"{i}.png", i)
    return folder


def folder_of_classes(place: Path, **counts: int) -> Path:
    """Write so many handwritten digits of 8x8 pixels a class, the first class zeros, into a folder a class."""
    splits = data.load("digits")
    for number, (name, count) in enumerate(counts.items()):
        (place / name).mkdir(parents=True)
        for k, image in enumerate(splits.train.inputs[splits.train.labels == number][:count]):
            Image.fromarray(image[0].numpy()).save(place / name / f"{k:03}.png")
    return place
