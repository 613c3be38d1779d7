"""Compression of images to a file with a trained codec, and decompression.

    python -m stacked.compress encode CODEC IMAGE ... FILE
    python -m stacked.compress decode CODEC FILE FOLDER

CODEC is a file written by `Codec.save` or python -m studies.compression. Images keep their size and order, and not their names:
they are decompressed as 0000.png, 0001.png and so on. Needs the optional dependencies "compression".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stacked.cli.command import Command, called, carried_out
from stacked.cli.overwriting import FORCE, check_new, check_not_read
from stacked.data.image_files.image_file import NAMES
from stacked.runtime.progress import say_warnings
from stacked.util.errors import InputError, printable

if TYPE_CHECKING:
    from torch import Tensor


def encode(codec: Path, images: Sequence[Path], file: Path, force: bool = False) -> str:
    """Compress images to a file and return a summary.

    Raises InputError for an image that cannot be read or does not have the codec's channels, and if `file` exists, unless
    `force`.
    """
    from stacked.apps.codec.codec import Codec
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
    return f"{file}: {len(images)} image{'s' * (len(images) > 1)} in this order, {rate}; names are not stored"


def decode(codec: Path, file: Path, folder: Path, force: bool = False, max_megapixels: float | None = None) -> str:
    """Decompress a file to numbered PNG images in a folder and return a summary.

    max_megapixels: limit for all images together (None: 89). Raises InputError for a file that cannot be read, and if an image
    exists, unless `force`.
    """
    from stacked.apps.codec.codec import Codec
    from stacked.data.image_files.image_file import png, regular
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
    last = f" to {paths[-1].name}" if len(paths) > 1 else ""
    return f"{folder}: {len(images)} image{'s' * (len(images) > 1)}, 0000.png{last}, in the order in which they were encoded"


def read(path: Path, channels: int) -> Tensor:
    """Return an image file as uint8 [channels, H, W], its EXIF orientation applied; InputError if information would be lost."""
    import numpy as np
    import torch

    from stacked.data.image_files.image import reason_of, upright
    from stacked.data.image_files.image_file import open_image
    from stacked.util.checks import need

    try:
        with open_image(path) as opened:
            is_deep = ";16" in str(opened.tile)  # of 16-bit colours Pillow reads the upper 8 bits
            image = upright(path, opened)
    except Exception as error:  # Pillow's decoders raise many types of errors on broken files
        raise InputError(f"{path} cannot be read ({reason_of(error)}): give an image in {NAMES}") from error
    clear = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    need(not clear, f"{path} has transparency, which cannot be stored: put it on a background first")
    grey = image.mode in ("1", "L")
    need(grey or image.mode in ("RGB", "P", "YCbCr", "CMYK"), f"{path} has pixels of mode {image.mode}: give 8 bits")
    need(not is_deep, f"{path} has 16 bits for each value, of which a codec stores 8: save it with 8 bits")
    need(
        grey or channels == 3,
        f"{path} is in colour and this codec is for grey images: convert it, or give another codec",
    )
    pixels = np.array(image.convert("L" if channels == 1 else "RGB"))
    return torch.from_numpy(pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, or 2 for invalid input."""
    prog = called("stacked.compress")
    say_warnings()
    command = Command(prog=prog, description="Compress images with a trained codec, and decompress them.")
    ways = command.add_subparsers(dest="way", required=True)
    there = ways.add_parser("encode", help="compress images to a file", description="Compress images to a file.")
    there.add_argument("codec", type=Path, metavar="CODEC", help="file written by Codec.save")
    there.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help=f"image in {NAMES}")
    there.add_argument("file", type=Path, metavar="FILE", help="output file")
    to_png = "decompress a file to PNG images"
    back = ways.add_parser("decode", help=to_png, description=f"D{to_png[1:]}.")
    back.add_argument("codec", type=Path, metavar="CODEC", help="codec that FILE was written with")
    back.add_argument("file", type=Path, metavar="FILE", help="file written by encode")
    back.add_argument("folder", type=Path, metavar="FOLDER", help="output folder")
    for way, what in ((there, "the largest image that is read"), (back, "all images together")):
        way.add_argument("--max-megapixels", type=float, default=None, metavar="X", help=f"limit of {what} (89)")
        way.add_argument("--force", action="store_true", help=FORCE)

    def do() -> int:
        given = command.parse_args(words)
        from stacked.util.checks import positive

        if given.max_megapixels is not None:
            positive(given.max_megapixels, "max_megapixels")
        if given.way == "encode":
            from stacked.data.image_files.image import pixel_limit

            with pixel_limit(given.max_megapixels):
                summary = encode(given.codec, given.images, given.file, given.force)
        else:
            summary = decode(given.codec, given.file, given.folder, given.force, given.max_megapixels)
        print(printable(summary))
        return 0

    return carried_out(prog, do)
