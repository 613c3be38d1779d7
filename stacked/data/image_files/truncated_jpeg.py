"""Detection of JPEG data that end early, before an end marker that was added, which libjpeg completes with grey."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from stacked.data.image_files.image_file import open_image

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

#: bytes inserted where the data of a JPEG end: if the decoder expects more data, they change the image
MORE = b"\xad\xb6" * 128
#: the end of a scan's data (a marker that is no stuffed zero, restart or fill byte), and a restart marker
MARKER, RESTART = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]"), re.compile(rb"\xff[\xd0-\xd7]")
#: markers of a frame, of a progressive frame, of a scan and of the end of the image; markers without a length
FRAMES, PROGRESSIVE, SCAN, END = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}, 0xC2, 0xDA, 0xD9
BARE = {0x01, *range(0xD0, 0xD9)}
#: the most scans of a JPEG; encoders write about ten
MOST_SCANS = 100
#: brightness of blocks without data, how far a neighbouring block can change it, and the pixels of a small image
GREY, NEAR, SMALL = 128, 3, 2**14


def jpeg_lacks_data(content: bytes, image: ImageFile) -> bool:
    """Load a JPEG and return whether it lacks data: whether additional data would change the image.

    Raises Pillow's errors, and ValueError for too many scans.
    """
    from PIL import ImageChops

    scans, end = _scans(content)
    if len(scans) > MOST_SCANS:
        raise ValueError(f"it has {len(scans):,} scans, more than {MOST_SCANS}")
    image.load()
    if end is None:
        return True
    if len(scans) == 1 and image.mode in ("L", "RGB") and image.width * image.height > SMALL:
        last = image.crop((image.width - 1, image.height - 1, *image.size)).convert("L").getpixel((0, 0))
        if not isinstance(last, (int, float)) or abs(last - GREY) > NEAR:
            return False  # the last block has data
    data, restart = content[:end].rstrip(b"\xff"), 0xD0 + len(RESTART.findall(content, scans[-1], end)) % 8
    with open_image(io.BytesIO(data + MORE + bytes([0xFF, restart]) + MORE + content[end:])) as more:
        more.load()
        return ImageChops.difference(image, more).getbbox(alpha_only=False) is not None


def _scans(content: bytes) -> tuple[list[int], int | None]:
    """Return where the data of each scan begin, and where the image ends (None without an end, or if a scan is missing)."""
    scans: list[int] = []
    progressive, at = False, content.find(b"\xff", 2)
    missing: dict[int, int] = {}  # component -> bit mask of the coefficients whose last bit has not been read
    while 0 <= at < len(content) - 1:
        kind = content[at + 1]
        if kind == END:
            return scans, at if scans and not any(missing.values()) else None
        if kind == 0xFF or kind in BARE:
            at = content.find(b"\xff", at + (1 if kind == 0xFF else 2))
            continue
        after = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        if kind in FRAMES:
            progressive = kind == PROGRESSIVE
            missing = dict.fromkeys(content[at + 10 : after : 3], 2**64 - 1)
        if kind == SCAN:
            scans.append(after)
            first, last, bits = content[after - 3 : after] if progressive else (0, 63, 0)
            if not bits & 15:
                for component in content[at + 5 : after - 3 : 2]:
                    missing[component] = missing.get(component, 0) & ~(2 ** (last + 1) - 2**first)
            data_end = MARKER.search(content, after)
            after = data_end.start() if data_end else len(content)
        at = content.find(b"\xff", after)
    return scans, None
