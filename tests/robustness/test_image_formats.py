"""Formats that are not on the list of those that are read: refused by content, left out by extension, and never decoded."""

from __future__ import annotations

import gzip
import io
import os
import re
import time
from pathlib import Path

import pytest
from PIL import Image

from stacked import InputError
from stacked.data.image_files.image import decode_all
from stacked.data.sources.images.folder import named_images
from tests.helpers.image_readers import readers
from tests.helpers.images import paint, quarters

ROOT = Path(__file__).parents[2]
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n{} loop\n"


def saved(kind: str) -> bytes:
    content = io.BytesIO()
    quarters().save(content, kind)
    return content.getvalue()


def fits(side: int) -> bytes:
    """A compressed FITS file, which Pillow decodes pixel by pixel."""

    def unit(**fields: object) -> bytes:
        cards = b"".join(f"{name:<8}= {value}".ljust(80).encode() for name, value in fields.items())
        whole = cards + b"END".ljust(80)
        return whole.ljust(-(-len(whole) // 2880) * 2880)

    first = unit(SIMPLE="T", BITPIX=8, NAXIS=0)
    table = {"XTENSION": "'BINTABLE'", "BITPIX": 8, "NAXIS": 2, "NAXIS1": 0, "NAXIS2": 0, "ZIMAGE": "T"}
    table |= {"ZCMPTYPE": "'GZIP_1  '", "ZBITPIX": 8, "ZNAXIS": 2, "ZNAXIS1": side, "ZNAXIS2": side}
    return first + unit(**table) + gzip.compress(bytes(4 * side * side), 1)


OTHERS = {
    "PostScript": POSTSCRIPT,
    "FITS": fits(1000),
    "film": b"\0\0\1\xb3\x01\x00\x10\x13\xff\xff\xe0\x18",
    **{kind: saved(kind) for kind in ("ICO", "ICNS", "TGA", "PCX", "SGI", "DDS")},
}


@pytest.mark.parametrize("kind", OTHERS)
def test_the_content_of_another_format_is_refused_by_every_reader(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(OTHERS[kind])
    began = time.process_time()
    for reader in readers(path):
        with pytest.raises(InputError) as error:
            reader()
        assert str(error.value).startswith(
            f"{path} cannot be read (cannot identify image file as BMP, GIF, JPEG, PNG, PPM, TIFF or WebP): "
        )
    assert time.process_time() - began < 1


def test_postscript_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs, called = tmp_path / "bin", tmp_path / "called"
    programs.mkdir()
    (programs / "gs").write_text(f"#!/bin/sh\ntouch '{called}'\n")
    (programs / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # it is looked for once a process
    (tmp_path / "x.png").write_bytes(POSTSCRIPT)
    with pytest.raises(InputError, match="cannot identify image file"):
        decode_all([tmp_path / "x.png"], 8, grey=False)
    assert not called.exists()


def test_other_extensions_are_left_out_and_counted(tmp_path: Path) -> None:
    paint(tmp_path / "x.png", 1)
    for name in ("x.eps", "x.fits", "x.ico", "y.ICO"):
        (tmp_path / name).write_bytes(POSTSCRIPT)
    with pytest.warns(UserWarning, match=r"4 files were ignored in .*: 2 \.ico, 1 \.eps, 1 \.fits$"):
        paths, _ = named_images(tmp_path, 8, grey=True)
    assert [path.name for path in paths] == ["x.png"]


def test_several_pictures_of_a_camera_in_one_jpeg_are_read(tmp_path: Path) -> None:
    """Pillow calls the format MPO."""
    quarters().save(tmp_path / "x.jpg", "MPO", save_all=True, append_images=[quarters()])
    with Image.open(tmp_path / "x.jpg") as opened:
        assert opened.format == "MPO"
    decode_all([tmp_path / "x.jpg"], 8, grey=False)


def test_images_are_opened_in_one_place() -> None:
    found = [
        path.relative_to(ROOT).as_posix()
        for package in ("stacked", "studies")
        for path in (ROOT / package).rglob("*.py")
        if re.search(r"\bImage\.open\(|\bimread\(", path.read_text(encoding="utf-8"))
    ]
    assert found == ["stacked/data/image_files/image_file.py"]
