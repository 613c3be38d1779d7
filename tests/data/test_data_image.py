"""One image of each format as a square of bytes."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, features
from torchvision.transforms import v2

from stacked import data
from stacked.data.image_files.image import decode, decode_all
from stacked.data.image_files.image_file import extensions
from stacked.spec import DataSpec
from stacked.util.errors import InputError
from tests.helpers.images import BLUE, GREEN, RED, STORED, UPRIGHT, WHITE, chunk, corners, quarters


def test_an_image_of_the_right_size_is_not_changed(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    image = decode(tmp_path / "x.png", 16, grey=False)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert np.array_equal(image, pixels.transpose(2, 0, 1))


@pytest.mark.parametrize(("width", "height"), [(300, 200), (200, 300), (64, 64), (33, 20), (10, 10)])
def test_resizing_is_that_of_the_shorter_side_with_antialiasing_and_a_centre_crop(
    tmp_path: Path, width: int, height: int
) -> None:
    y, x = np.mgrid[:height, :width]
    smooth = np.stack([255 * x / width, 255 * y / height, 127 + 100 * np.sin(x / 20)], -1).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "x.png")
    ours = decode(tmp_path / "x.png", 16, grey=False).astype(int)
    reference = v2.Compose([v2.Resize(16, antialias=True), v2.CenterCrop(16)])
    theirs = reference(torch.from_numpy(smooth).permute(2, 0, 1)).numpy().astype(int)
    assert np.abs(ours - theirs).max() <= 8  # theirs crops at a whole pixel of the small image, ours does not
    assert np.abs(ours - theirs).mean() < 2.5


def test_a_fine_pattern_becomes_its_mean(tmp_path: Path) -> None:
    stripes = np.zeros((160, 160), dtype=np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(tmp_path / "x.png")
    image = decode(tmp_path / "x.png", 16, grey=True).astype(int)
    assert np.abs(image[..., 1:-1] - 127).max() <= 1
    assert np.abs(image - 127).max() <= 4  # at the border the filter sees an odd number of stripes


def test_only_the_centre_of_a_long_image_counts(tmp_path: Path) -> None:
    image = Image.new("RGB", (20_000, 2), RED)
    image.paste(BLUE, (9_990, 0, 10_010, 2))
    image.save(tmp_path / "x.png")
    square = decode(tmp_path / "x.png", 224, grey=False)
    assert (square == np.array(BLUE, dtype=np.uint8)[:, None, None]).all()


@pytest.mark.parametrize("orientation", STORED)
def test_the_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    turn = STORED[orientation]
    image = quarters() if turn is None else quarters().transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "x.png", exif=exif)
    if orientation != 1:
        assert corners(np.array(image).transpose(2, 0, 1)) != UPRIGHT
    assert corners(decode(tmp_path / "x.png", 8, grey=False)) == UPRIGHT


@pytest.mark.parametrize("kind", ["png", "tiff", "pgm"])
def test_16_bit_grey_is_scaled(tmp_path: Path, kind: str) -> None:
    values = np.array([[0, 128, 129, 257], [32767, 32768, 65278, 65535]] * 2, dtype=np.uint16)
    if kind == "pgm":
        (tmp_path / "x.pgm").write_bytes(b"P5 4 4 65535\n" + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(tmp_path / f"x.{kind}")
    expected = [[0, 0, 1, 1], [127, 128, 254, 255]] * 2  # v / 257, rounded
    assert decode(tmp_path / f"x.{kind}", 4, grey=True)[0].tolist() == expected
    assert decode(tmp_path / f"x.{kind}", 4, grey=False).tolist() == [expected] * 3


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_a_white_level_is_white(tmp_path: Path, kind: str) -> None:
    values = np.array([[0, 2048, 4095, 4096], [100, 1000, 3000, 65535]] * 2, dtype=np.uint16)
    path = tmp_path / f"x.{kind}"
    Image.fromarray(values).save(path)
    expected = [[0, 128, 255, 255], [6, 62, 187, 255]] * 2
    assert decode(path, 4, grey=True, white_level=4095)[0].tolist() == expected
    assert decode_all([path], 4, True, white_level=4095)[0, 0].tolist() == expected


def test_12_bits_in_files_of_16_are_told_of(tmp_path: Path) -> None:
    paths = [tmp_path / f"{k}.png" for k in range(3)]
    for path, largest in zip(paths, (100, 4095, 4096), strict=True):
        Image.fromarray(np.full((4, 4), largest, dtype=np.uint16)).save(path)
    with pytest.warns(
        UserWarning, match=r"2 of 2 images in .* have 16 bits and no value above 4,095, .* white_level 4095"
    ):
        decode_all(paths[:2], 4, True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decode_all(paths, 4, True)
        decode_all(paths, 4, True, white_level=4095)
    Image.new("L", (4, 4)).save(tmp_path / "8.png")
    with pytest.warns(
        UserWarning, match=r"0 of 1 images in .*8\.png have 16 bits: the white level of 4,095 has no effect"
    ):
        decode_all([tmp_path / "8.png"], 4, True, white_level=4095)


def test_16_bits_of_colours_are_told_of_too(tmp_path: Path) -> None:
    pixels = np.full((4, 4, 3), 4095, dtype=">u2").tobytes()
    lines = b"".join(b"\0" + pixels[24 * k : 24 * (k + 1)] for k in range(4))
    body = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(lines))
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b""))
    with pytest.warns(UserWarning, match="1 of 1 images in .* have 16 bits"):
        assert decode_all([tmp_path / "x.png"], 4, False).max() == 15
    with pytest.raises(InputError, match="to which no white level applies; save it as grey"):
        decode_all([tmp_path / "x.png"], 4, False, white_level=4095)


def test_more_megapixels_are_read_where_they_are_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for side, name in (
        (30, "small"),
        (40, "large"),
        (60, "twice"),
    ):  # above the limit Pillow warns, above twice it refuses
        Image.new("L", (side, side), 7).save(tmp_path / f"{name}.png")
    for name in ("large", "twice"):
        with pytest.raises(
            InputError, match="decompression bomb DOS attack; if it is a genuine image, give max_megapixels"
        ):
            decode_all([tmp_path / f"{name}.png"], 4, True)
    paths = [tmp_path / f"{name}.png" for name in ("small", "large", "twice")]
    assert (decode_all(paths, 4, True, max_megapixels=0.0036) == 7).all()
    assert Image.MAX_IMAGE_PIXELS == 1000
    with pytest.raises(InputError, match=r"large\.png cannot be read .* nor can 1 more"):
        decode_all(paths, 4, True, max_megapixels=0.0015)
    for option in ({"white_level": 70_000}, {"white_level": 0}, {"max_megapixels": -1.0}):
        for refuses in (
            lambda option=option: DataSpec(**option),
            lambda option=option: data.load("folder:x", **option),
        ):
            with pytest.raises(InputError, match=f"{next(iter(option))} .* is not allowed"):
                refuses()
    for option in ({"white_level": 4095}, {"max_megapixels": 100.0}):
        with pytest.raises(InputError, match=f"{next(iter(option))} does not apply to 'digits'"):
            data.load("digits", **option)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_32_bit_pixels_are_refused(tmp_path: Path, dtype: type) -> None:
    Image.fromarray(np.zeros((4, 4), dtype=dtype)).save(tmp_path / "x.tiff")
    with pytest.raises(InputError, match=r"x\.tiff cannot be read \(its pixels \(mode .\) have no fixed white level"):
        decode_all([tmp_path / "x.tiff"], 4, grey=True)


def test_cmyk(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "x.tiff")
    assert corners(decode(tmp_path / "x.tiff", 8, grey=False)) == [RED] * 4
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "x.jpg", quality=100)
    difference = np.abs(decode(tmp_path / "x.jpg", 8, grey=False)[:, 0, 0].astype(int) - RED)
    assert difference.max() <= 3


def test_a_palette_is_looked_up_before_resizing(tmp_path: Path) -> None:
    image = quarters().quantize(4)
    image.save(tmp_path / "x.png")
    image.save(tmp_path / "x.gif")
    for name in ("x.png", "x.gif"):
        assert corners(decode(tmp_path / name, 8, grey=False)) == UPRIGHT
    small = decode(tmp_path / "x.png", 1, grey=False).flatten()
    assert np.abs(small.astype(int) - 127).max() <= 1  # the mean of the colours, not of their indices


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    image = quarters().convert("RGBA")
    image.putpixel((0, 0), (9, 9, 9, 0))
    image.putpixel((7, 0), (0, 0, 0, 51))
    image.save(tmp_path / "x.png")
    assert corners(decode(tmp_path / "x.png", 8, grey=False)) == [WHITE, (204, 204, 204), BLUE, WHITE]
    Image.new("LA", (8, 8), (0, 0)).save(tmp_path / "la.png")
    assert decode(tmp_path / "la.png", 8, grey=True).min() == 255
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([*RED, *GREEN])
    palette.save(tmp_path / "p.png", transparency=1)
    assert corners(decode(tmp_path / "p.png", 8, grey=False)) == [WHITE] * 4


def test_black_and_white(tmp_path: Path) -> None:
    image = Image.new("1", (8, 8))
    image.putpixel((0, 0), 1)
    image.save(tmp_path / "x.png")
    grey = decode(tmp_path / "x.png", 8, grey=True)
    assert grey.shape == (1, 8, 8)
    assert sorted(np.unique(grey).tolist()) == [0, 255]


def test_grey_of_grey_is_exact(tmp_path: Path) -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    assert np.array_equal(decode(tmp_path / "x.png", 16, grey=True)[0], pixels)
    assert np.array_equal(decode(tmp_path / "x.png", 16, grey=False), np.stack([pixels] * 3))


def test_the_first_frame_counts(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN)]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    assert corners(decode(tmp_path / "x.gif", 8, grey=False)) == [RED] * 4


def test_the_content_decides_not_the_extension(tmp_path: Path) -> None:
    quarters().save(tmp_path / "x.png")
    (tmp_path / "x.png").rename(tmp_path / "x.jpg")
    assert corners(decode(tmp_path / "x.jpg", 8, grey=False)) == UPRIGHT


def test_extensions_are_of_formats_that_can_be_read() -> None:
    assert {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".pgm"} <= extensions()
    assert not {".pdf", ".txt", ".csv", ".db", ".h5", ".mpg", ".eps", ".fits", ".ico", ".wmf", ""} & extensions()


@pytest.mark.skipif(not features.check("webp"), reason="this Pillow was built without WebP")
def test_webp(tmp_path: Path) -> None:
    quarters().save(tmp_path / "x.webp", lossless=True)
    assert corners(decode(tmp_path / "x.webp", 8, grey=False)) == UPRIGHT


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as error:
        decode_all([path], 8, grey=False)
    return str(error.value)


@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "tiff"])
def test_truncated_and_empty_files_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x.{kind}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    content = path.read_bytes()
    for part in (content[: len(content) // 2], content[:20], b""):
        path.write_bytes(part)
        assert refusal(path).startswith(f"{path} cannot be read (")


@pytest.mark.parametrize("side", [10_000, 100_000])  # Pillow only warns of the first, and refuses the second
def test_a_decompression_bomb_is_refused_by_name_and_without_a_warning(
    tmp_path: Path, side: int, recwarn: pytest.WarningsRecorder
) -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    path = tmp_path / "x.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b""))
    message = refusal(path)
    assert message.startswith(f"{path} cannot be read (Image size ({side * side} pixels) exceeds limit of ")
    assert "decompression bomb" in message
    assert not recwarn.list


def test_images_come_in_the_order_of_their_paths(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(40)]
    for i, path in enumerate(paths):
        Image.new("L", (400 if i % 2 else 4, 400 if i % 2 else 4), i).save(path)
    images = decode_all(paths, 4, grey=True)
    assert images.shape == (40, 1, 4, 4)
    assert images[:, 0, 2, 2].tolist() == list(range(40))
