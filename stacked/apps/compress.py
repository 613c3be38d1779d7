"""Images to a file by a trained codec, and back.

    python -m stacked.compress encode CODEC IMAGE ... FILE
    python -m stacked.compress decode CODEC FILE FOLDER

The codec is one that `Codec.save` or python -m studies.compression wrote. Images are kept at their own size, and restored as PNG.
Needs the extra "compression".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stacked.cli.command import Command, called, carried_out
from stacked.cli.overwriting import FORCE, check_new, check_not_read
from stacked.runtime.progress import say_warnings
from stacked.util.errors import InputError, printable

if TYPE_CHECKING:
    from torch import Tensor


def encode(codec: Path, images: Sequence[Path], file: Path, force: bool = False) -> str:
    """Write images to a file; returns what to say of it.

    Raises InputError for what cannot be read or is not of the codec's colours, and for a file that is there, unless `force`.
    """
    from stacked.apps.codec import Codec
    from stacked.util.atomic import sweep, write_atomically

    check_not_read(file, [codec, *images], "FILE")
    check_new([file], "FILE", force)
    sweep(file.parent)
    model = Codec.load(codec)
    pixels = [read(path, model.stack.input_shape[0]) for path in images]
    content = model.encode(pixels)
    write_atomically(file, content)
    area = sum(image.shape[1] * image.shape[2] for image in pixels)
    rate = f"{len(content):,} bytes, {8 * len(content) / area:.3f} bits per pixel"
    return f"{file}: {len(images)} image{'s' * (len(images) > 1)}, {rate}"


def decode(codec: Path, file: Path, folder: Path, force: bool = False, max_megapixels: float | None = None) -> str:
    """Write the images of a file into a folder, numbered in their order; returns what to say of it.

    max_megapixels: of all images together (None: 89). Raises InputError for what cannot be read, and for images that are there,
    unless `force`.
    """
    from stacked.apps.codec import Codec
    from stacked.data.formats.image import regular
    from stacked.util.atomic import sweep, write_atomically

    model = Codec.load(codec)
    try:
        regular(file)
        content = file.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{file} cannot be read ({reason}): give a file of compressed images") from error
    images = model.decode(content, str(file), max_megapixels=max_megapixels)
    paths = [folder / f"{number:04}.png" for number in range(len(images))]
    check_new(paths, "FOLDER", force)
    sweep(folder)
    for path, image in zip(paths, images, strict=True):
        write_atomically(path, png(image))
    return f"{folder}: {len(images)} image{'s' * (len(images) > 1)}, from 0000.png"


def read(path: Path, channels: int) -> Tensor:
    """An image file as uint8 [channels, H, W], turned as its EXIF orientation says; InputError where something would be lost."""
    import numpy as np
    import torch
    from PIL import Image

    from stacked.data.formats.image import reason_of, regular, upright
    from stacked.util.checks import need

    try:
        regular(path)
        with Image.open(path) as opened:
            image = upright(path, opened)
    except Exception as error:  # Pillow's decoders raise nearly anything on broken files
        raise InputError(f"{path} cannot be read ({reason_of(error)}): give an image that Pillow reads") from error
    clear = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    need(not clear, f"{path} is transparent in places, which is not kept: lay it on a background first")
    grey = image.mode in ("1", "L")
    need(grey or image.mode in ("RGB", "P", "YCbCr", "CMYK"), f"{path} has pixels of mode {image.mode}: give 8 bits")
    need(
        grey or channels == 3,
        f"{path} is in colour and this codec is of grey images: convert it, or give another codec",
    )
    pixels = np.array(image.convert("L" if channels == 1 else "RGB"))
    return torch.from_numpy(pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def png(image: Tensor) -> bytes:
    """An image, uint8 [C, H, W], as the bytes of a PNG file."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    pixels = image.permute(1, 2, 0).squeeze(2) if image.shape[0] == 1 else image.permute(1, 2, 0)
    Image.fromarray(pixels.numpy()).save(buffer, "PNG")
    return buffer.getvalue()


def main(words: Sequence[str] | None = None) -> int:
    """The command line; returns 0, or 2 for bad input."""
    prog = called("stacked.compress")
    say_warnings()
    command = Command(prog=prog, description="Compress images by a trained codec, and restore them.")
    ways = command.add_subparsers(dest="way", required=True)
    there = ways.add_parser("encode", help="images to a file")
    there.add_argument("codec", type=Path, metavar="CODEC", help="file that Codec.save wrote")
    there.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="file that Pillow reads")
    there.add_argument("file", type=Path, metavar="FILE", help="to be written")
    back = ways.add_parser("decode", help="a file to PNG images")
    back.add_argument("codec", type=Path, metavar="CODEC", help="file that it was written with")
    back.add_argument("file", type=Path, metavar="FILE", help="file that encode wrote")
    back.add_argument("folder", type=Path, metavar="FOLDER", help="to be written into")
    for way, what in ((there, "the largest image that is read"), (back, "all images together")):
        way.add_argument("--max-megapixels", type=float, default=None, metavar="X", help=f"of {what} (89)")
        way.add_argument("--force", action="store_true", help=FORCE)

    def do() -> int:
        given = command.parse_args(words)
        from stacked.util.checks import positive

        if given.max_megapixels is not None:
            positive(given.max_megapixels, "max_megapixels")
        if given.way == "encode":
            from stacked.data.formats.image import pixel_limit

            with pixel_limit(given.max_megapixels):
                told = encode(given.codec, given.images, given.file, given.force)
        else:
            told = decode(given.codec, given.file, given.folder, given.force, given.max_megapixels)
        print(printable(told))
        return 0

    return carried_out(prog, do)
