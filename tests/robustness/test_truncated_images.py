"""Images whose data end early: refused in a line that names the file, wherever images are read; whole ones are read."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stacked import InputError, StackSpec
from stacked.apps.codec.codec import Codec
from stacked.apps.codec.compress import main, read
from stacked.data.image_files.image import decode_all
from stacked.data.image_files.image_file import open_image
from stacked.data.image_files.truncated import load_whole
from stacked.model.stack import build
from tests.helpers.image_readers import readers
from tests.helpers.images import chunk, png

SIDE = 24


def picture(side: int = SIDE, mode: str = "RGB") -> Image.Image:
    """Something in colour, with a black corner at the bottom right."""
    drawn = np.random.default_rng(0).integers(1, 256, (4, 4, 3), dtype=np.uint8)
    drawn[-1, -1] = 0
    return Image.fromarray(drawn).resize((side, side), Image.Resampling.BICUBIC).convert(mode)


def short_png(rows: int, kind: int = 2, bits: int = 8, side: int = SIDE) -> bytes:
    """A PNG whose data end, as data do, after so many rows."""
    raw = b"".join(b"\0" + bytes([200]) * (-(-side * bits * (3 if kind == 2 else 1) // 8)) for _ in range(rows))
    colours = chunk(b"PLTE", bytes(range(256)) * 3) if kind == 3 else b""
    return png(side, side, bits, kind, colours + chunk(b"IDAT", zlib.compress(raw)))


def jpeg(share: float, mode: str = "RGB", **options: object) -> bytes:
    """A JPEG whose data end after a share of them, and then has its end marker."""
    file = io.BytesIO()
    picture(mode=mode).save(file, "JPEG", quality=95, **options)
    whole = file.getvalue()
    start = whole.index(b"\xff\xda")
    return whole[: start + round(share * (len(whole) - 2 - start))] + b"\xff\xd9"


def tiff(strips: int) -> bytes:
    """A TIFF in grey with so many of three strips."""
    rows = SIDE // 3
    where = [8 + SIDE * rows * k for k in range(strips)]
    data, end = bytes([200]) * SIDE * rows * strips, 8 + SIDE * rows * strips
    lists = struct.pack(f"<{strips}I", *where) + struct.pack(f"<{strips}I", *[SIDE * rows] * strips)
    tags = [(256, 3, 1, SIDE), (257, 3, 1, SIDE), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    tags += [(273, 4, strips, end), (277, 3, 1, 1), (278, 3, 1, rows), (279, 4, strips, end + 4 * strips)]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<I", end + len(lists)) + data + lists + struct.pack("<H", 9) + entries + bytes(4)


def tiff_of_jpegs(
    *parts: bytes,
    tile: tuple[int, int] | None = None,
    rows: int = SIDE // 3,
    planes: int = 1,
    kind: int = 7,
    side: int = SIDE,
) -> bytes:
    """A TIFF in grey, or of three planes, whose strips, or tiles, are these JPEG files."""
    count, where, content = len(parts), [], b"II*\0" + bytes(4)
    for part in parts:
        where.append(len(content))
        content += part
    tags = [
        (256, 3, 1, side),
        (257, 3, 1, side),
        (258, 3, 1, 8),
        (259, 3, 1, kind),
        (262, 3, 1, 2 if planes == 3 else 1),
    ]
    starts, lengths = len(content), len(content) + 4 * count
    content += struct.pack(f"<{count}I", *where) + struct.pack(f"<{count}I", *map(len, parts))
    if count == 1:  # it stands in the entry itself
        starts, lengths = where[0], len(parts[0])
    if planes == 3:
        tags[2] = (258, 3, 3, len(content))
        content += struct.pack("<3H", 8, 8, 8)
    tags += [(277, 3, 1, planes), (284, 3, 1, 2 if planes == 3 else 1)]
    if tile:
        tags += [(322, 3, 1, tile[0]), (323, 3, 1, tile[1]), (324, 4, count, starts), (325, 4, count, lengths)]
    else:
        tags += [(273, 4, count, starts), (278, 3, 1, rows), (279, 4, count, lengths)]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    return (
        content[:4] + struct.pack("<I", len(content)) + content[8:] + struct.pack("<H", len(tags)) + entries + bytes(4)
    )


def part(width: int, height: int, share: float = 1) -> bytes:
    """A JPEG in grey of this size with a share of its data."""
    file = io.BytesIO()
    picture(mode="L").resize((width, height)).save(file, "JPEG", quality=95)
    whole = file.getvalue()
    start = whole.index(b"\xff\xda")
    return whole[: start + round(share * (len(whole) - 2 - start))] + b"\xff\xd9"


#: by name: what makes the file with a share of its data
CUT: dict[str, Callable[[float], bytes]] = {
    "x.png": lambda share: short_png(round(share * SIDE)),
    "grey.png": lambda share: short_png(round(share * SIDE), 0),
    "16-bit.png": lambda share: short_png(round(share * SIDE), 0, 16),
    "two colours.png": lambda share: short_png(round(share * SIDE), 0, 1),
    "palette.png": lambda share: short_png(round(share * SIDE), 3),
    "x.jpg": jpeg,
    "grey.jpg": lambda share: jpeg(share, "L"),
    "cmyk.jpg": lambda share: jpeg(share, "CMYK"),
    "progressive.jpg": lambda share: jpeg(share, progressive=True),
    "restarts.jpg": lambda share: jpeg(share, restart_marker_blocks=2),
    "x.tiff": lambda share: tiff(3 if share == 1 else 2),
    "jpeg.tiff": lambda share: tiff_of_jpegs(part(SIDE, 8), part(SIDE, 8, share), part(SIDE, 8)),
    "one jpeg.tiff": lambda share: tiff_of_jpegs(part(SIDE, SIDE, share), rows=SIDE),
    "jpeg tiles.tiff": lambda share: tiff_of_jpegs(*[part(16, 16)] * 3, part(16, 16, share), tile=(16, 16)),
    "jpeg planes.tiff": lambda share: tiff_of_jpegs(
        *[part(SIDE, SIDE)] * 2, part(SIDE, SIDE, share), rows=SIDE, planes=3
    ),
    "jpeg rows.tiff": lambda share: tiff_of_jpegs(part(SIDE, 8), part(SIDE, 8 if share == 1 else 3), part(SIDE, 8)),
    "jpeg strips.tiff": lambda share: tiff_of_jpegs(*[part(SIDE, 8)] * (3 if share == 1 else 2)),
}


@pytest.mark.parametrize("name", CUT)
def test_data_that_end_early_are_refused_everywhere(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(CUT[name](1))
    decode_all([path], 8, grey=False)
    if not name.startswith("16-bit"):
        read(path, 3)
    for share in (0.3, 0.6, 0.9):
        path.write_bytes(CUT[name](share))
        for reader in readers(path):
            with pytest.raises(InputError) as error:
                reader()
            assert str(error.value).startswith(f"{path} cannot be read (image file is truncated")
            assert "\n" not in str(error.value)


def test_every_row_of_a_png_is_needed(tmp_path: Path) -> None:
    """Of 3 rows of 8 the others were black."""
    for rows in range(8):
        (tmp_path / "x.png").write_bytes(short_png(rows, side=8))
        with pytest.raises(InputError, match=r"x\.png cannot be read"):
            decode_all([tmp_path / "x.png"], 8, grey=False)
    (tmp_path / "x.png").write_bytes(short_png(8, side=8))
    assert (decode_all([tmp_path / "x.png"], 8, grey=False) == 200).all()


def test_every_cut_of_a_jpeg_that_was_given_an_end_is_refused(tmp_path: Path) -> None:
    for options in ({}, {"progressive": True}, {"restart_marker_rows": 1}, {"subsampling": 0}):
        (tmp_path / "x.jpg").write_bytes(jpeg(1, **options))
        whole = decode_all([tmp_path / "x.jpg"], SIDE, grey=False)
        for percent in range(1, 100, 3):
            (tmp_path / "x.jpg").write_bytes(jpeg(percent / 100, **options))
            try:
                image = decode_all([tmp_path / "x.jpg"], SIDE, grey=False)
            except InputError:
                continue
            assert np.array_equal(image, whole), (options, percent)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16"])
@pytest.mark.parametrize("side", [1, 2, 7, 8, 9, 24, 150])
@pytest.mark.parametrize("colour", [0, 128, 255, None])
def test_whole_images_are_read(mode: str, side: int, colour: int | None, tmp_path: Path) -> None:
    """Black, grey and white ones too, which are those that data were missing of."""
    image = picture(side) if colour is None else Image.new("RGB", (side, side), (colour,) * 3)
    image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16)) if mode == "I;16" else image.convert(mode)
    done = 0
    for kind in ("PNG", "JPEG", "TIFF", "GIF", "WEBP", "BMP", "PPM"):
        for options in ({}, {"progressive": True}) if kind == "JPEG" else ({},):
            path = tmp_path / f"x.{kind.lower()}"
            try:
                image.save(path, kind, **options)
                with Image.open(path) as opened:
                    wanted = np.asarray(opened)
            except (OSError, ValueError, KeyError, SystemError):
                continue  # it cannot have such images
            with open_image(path) as opened:
                load_whole(path, opened)
                assert np.array_equal(np.asarray(opened), wanted)
            done += 1
    assert done >= 2


def test_grey_at_the_end_of_a_large_jpeg_is_no_sign_of_damage(tmp_path: Path) -> None:
    drawn = np.full((200, 200, 3), 128, dtype=np.uint8)
    drawn[:100, :100] = np.random.default_rng(0).integers(0, 256, (100, 100, 1))
    Image.fromarray(drawn).save(tmp_path / "x.jpg")
    assert decode_all([tmp_path / "x.jpg"], 8, grey=False)[0, :, -1, -1].tolist() == [128] * 3
    whole = (tmp_path / "x.jpg").read_bytes()
    (tmp_path / "x.jpg").write_bytes(whole[: len(whole) // 2] + b"\xff\xd9")
    with pytest.raises(InputError, match="truncated"):
        decode_all([tmp_path / "x.jpg"], 8, grey=False)
    (tmp_path / "x.jpg").write_bytes(whole + b"more \xff\xd9 after its end")
    decode_all([tmp_path / "x.jpg"], 8, grey=False)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "YCbCr", "CMYK", "RGBA"])
@pytest.mark.parametrize("size", [(7, 5), (256, 200)])
@pytest.mark.parametrize("kind", ["jpeg", "tiff_lzw", "group4", "packbits", "tiff_adobe_deflate"])
def test_whole_compressed_tiffs_are_read(mode: str, size: tuple[int, int], kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.tiff"
    if (mode == "1" and kind == "jpeg") or (mode != "1" and kind == "group4"):
        pytest.skip("there are no such files")
    picture().resize(size).convert(mode).save(path, compression=kind)
    decode_all([path], 8, grey=False)
    content = path.read_bytes()
    strips = Image.open(path).tag_v2  # type: ignore[attr-defined]
    path.write_bytes(content[: strips[273][-1] + strips[279][-1] // 2])  # as it is where it was fetched in part
    with pytest.raises(InputError, match="cannot be read"):
        decode_all([path], 8, grey=False)


@pytest.mark.parametrize("cut", [1, 2, 3, 10])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_large_jpeg_without_its_last_bytes_is_refused(cut: int, progressive: bool, tmp_path: Path) -> None:
    picture(300).save(tmp_path / "x.jpg", progressive=progressive)
    decode_all([tmp_path / "x.jpg"], 8, grey=False)
    (tmp_path / "x.jpg").write_bytes((tmp_path / "x.jpg").read_bytes()[:-cut])
    with pytest.raises(InputError, match="truncated"):
        decode_all([tmp_path / "x.jpg"], 8, grey=False)


def test_jpegs_in_tiff_that_cannot_be_checked_are_refused(tmp_path: Path) -> None:
    picture(mode="LA").save(tmp_path / "channels.tiff", compression="jpeg")
    (tmp_path / "old.tiff").write_bytes(tiff_of_jpegs(part(SIDE, SIDE), rows=SIDE, kind=6))
    for name, kind in (("channels", "of 2 channels"), ("old", "of the obsolete kind, compression 6")):
        with pytest.raises(InputError, match=f"its JPEG data are {kind}, in which .*; save it as PNG"):
            decode_all([tmp_path / f"{name}.tiff"], 8, grey=False)


def test_parts_of_other_sizes_or_too_many_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    for parts, rows, says in (([part(SIDE, 500)] * 3, 8, "truncated"), ([part(500, 8)] * 3, 8, "truncated")):
        (tmp_path / "x.tiff").write_bytes(tiff_of_jpegs(*parts, rows=rows))
        with pytest.raises(InputError, match=says):
            decode_all([tmp_path / "x.tiff"], 8, grey=False)
    (tmp_path / "x.tiff").write_bytes(tiff_of_jpegs(*[part(SIDE, 10)] * 3, rows=10))  # the last has 4 rows of the image
    decode_all([tmp_path / "x.tiff"], 8, grey=False)
    (tmp_path / "x.tiff").write_bytes(tiff_of_jpegs(part(1, 1), tile=(1, 1), side=101))
    with pytest.raises(InputError, match="it has 10,201 JPEG parts, more than 10,000; save it as PNG"):
        decode_all([tmp_path / "x.tiff"], 8, grey=False)


def test_the_command_says_a_line_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = StackSpec.of("dense", 4, activation="linear")
    images = torch.randint(0, 256, (9, 3, 8, 8), dtype=torch.uint8)
    Codec(build(spec, (3, 8, 8)), spec, images).save(tmp_path / "codec")
    (tmp_path / "x.png").write_bytes(short_png(3))
    assert main(["encode", *(str(tmp_path / name) for name in ("codec", "x.png", "x.stk"))]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"{tmp_path / 'x.png'} cannot be read (image file is truncated)" in told
    assert not (tmp_path / "x.stk").exists()
