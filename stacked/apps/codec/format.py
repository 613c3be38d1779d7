"""The file format of compressed images, and the detection of damaged and foreign files.

magic (8 bytes) | version (1) | model id (8) | runs of equal sizes: their number, then (images, height, width) of each |
payload | CRC-32 of everything before (4). Numbers are little-endian base 128 (LEB128), without padding.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from stacked.util.checks import need
from stacked.util.errors import InputError

#: as in PNG: the first byte is not text, and line ends reveal a transfer in text mode
MAGIC = b"\x89STK\r\n\x1a\n"
VERSION, ID_BYTES, CRC_BYTES = 1, 8, 4
#: limits of what a file may declare, because a few bytes could declare more than fits in memory; the number of values is that of
#: the largest colour image that Pillow reads by default
MOST_IMAGES, MOST_VALUES = 2**18, 2**28
#: the most images of a file without a payload, and how many more there may be for each byte of it: a codec of one value a channel
#: needs no payload for any number of images
FREE_IMAGES, IMAGES_A_BYTE = 2**12, 8

Size = tuple[int, int]


class Packed(NamedTuple):
    """The sizes (height, width) of the images in a file, and its payload."""

    sizes: list[Size]
    payload: bytes


def pack(model: bytes, sizes: Sequence[Size], payload: bytes) -> bytes:
    """Return the bytes of a file written with the model of this id."""
    runs = [(len(list(same)), *size) for size, same in groupby(sizes)]
    numbers = [len(runs), *(number for run in runs for number in run)]
    body = MAGIC + bytes([VERSION]) + model + b"".join(map(_leb128, numbers)) + payload
    return body + zlib.crc32(body).to_bytes(CRC_BYTES, "little")


def unpack(content: bytes, model: bytes, name: str, tile: tuple[int, int, int], most: int = MOST_VALUES) -> Packed:
    """Return the content of a file called `name`, whose images consist of tiles [C, H, W] with at most `most` values.

    Raises InputError if it is no such file, of another version or model, damaged, or exceeds the limits.
    """
    need(
        content[: len(MAGIC)] == MAGIC,
        f"{name} is not a file of images compressed by stacked: give a file that python -m stacked.compress encode wrote",
    )
    least = len(MAGIC) + 1 + ID_BYTES + CRC_BYTES
    damaged = f"{name} is damaged or truncated: fetch it again, or encode its images again"
    need(len(content) > least, damaged)
    version = content[len(MAGIC)]
    need(
        version == VERSION,
        f"{name} has format version {version}, and only {VERSION} can be read: use the stacked that wrote it",
    )
    body, crc = content[:-CRC_BYTES], content[-CRC_BYTES:]
    need(zlib.crc32(body).to_bytes(CRC_BYTES, "little") == crc, damaged)
    at = len(MAGIC) + 1 + ID_BYTES
    theirs = body[len(MAGIC) + 1 : at]
    need(
        theirs == model,
        f"{name} was written with the model {theirs.hex()}, not with {model.hex()}: give the codec it was written with",
    )
    try:
        runs, at = _number(body, at)
        sizes: list[Size] = []
        total, (channels, high, wide) = 0, tile
        for _ in range(runs):
            count, at = _number(body, at)
            height, at = _number(body, at)
            width, at = _number(body, at)
            need(bool(count and height and width), damaged)
            total += count * -(-height // high) * -(-width // wide) * channels * high * wide
            need(total <= most and len(sizes) + count <= MOST_IMAGES, too_much(name, most))
            sizes += [(height, width)] * count
    except IndexError as error:
        raise InputError(damaged) from error
    allowed = most_images(len(body) - at)
    need(
        len(sizes) <= allowed,
        f"{name} declares {len(sizes):,} images in {len(body) - at:,} bytes, and at most {allowed:,} are read from so few: "
        "encode them again, in several files",
    )
    return Packed(sizes, body[at:])


def most_images(payload: int) -> int:
    """Return the most images of a file whose payload has this number of bytes."""
    return FREE_IMAGES + IMAGES_A_BYTE * payload


def too_much(name: str, most: int) -> str:
    """Return the error message for a file that exceeds the limits."""
    return (
        f"{name} declares more than {MOST_IMAGES:,} images or {most:,} values and is not read: if you trust it, give "
        "max_megapixels (--max-megapixels) above the size of its images"
    )


def _leb128(number: int) -> bytes:
    parts = []
    while True:
        number, low = number >> 7, number & 0x7F
        parts.append(low | (0x80 if number else 0))
        if not number:
            return bytes(parts)


def _number(body: bytes, at: int) -> tuple[int, int]:
    """Return the number at position `at`, and the position after it; IndexError past the end, or beyond 64 bits."""
    number = shift = 0
    while True:
        if shift >= 64:
            raise IndexError("a number of more than 64 bits")
        byte = body[at]
        number, at, shift = number | (byte & 0x7F) << shift, at + 1, shift + 7
        if not byte & 0x80:
            return number, at
