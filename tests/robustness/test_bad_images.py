"""Folders of images with anything in them: read, or refused in one line that names the file."""

from __future__ import annotations

import io
import os
import resource
import socket
import struct
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features

from stacked import InputError, data
from stacked.apps.codec import compress
from stacked.data.image_files.image import decode, decode_all
from stacked.data.sources.images.folder import named_images, named_paths
from studies.framework.main import main
from studies.pretraining.layerwise import STUDY
from tests.helpers.folders import load, refusal
from tests.helpers.images import BLUE, GREEN, STORED, UPRIGHT, WHITE, chunk, classes, corners, paint, png, quarters
from tests.helpers.refused import damaged, note
from tests.helpers.refused import refusal as refused


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def frames() -> list[Image.Image]:
    return [quarters(), Image.new("RGB", (8, 8), GREEN), Image.new("RGB", (8, 8), BLUE)]


def sixteen_bits(colours: int) -> bytes:
    """A PNG of 8 x 8 pixels of 16 bits: colour type 2 (RGB), which Pillow cannot write, or 0."""
    values = np.asarray(quarters()).astype(">u2") * 257
    rows = values[..., :colours].tobytes()
    line = 8 * colours * 2
    raw = b"".join(b"\0" + rows[i : i + line] for i in range(0, len(rows), line))
    header = struct.pack(">IIBBBBB", 8, 8, 16, 2 if colours == 3 else 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(quarters().transpose(STORED[6]), "JPEG", exif=exif, quality=100, subsampling=0)


CLEAR = quarters().convert("RGBA")
CLEAR.putalpha(Image.new("L", (8, 8), 128))
#: by name: a file's bytes, and whether it gives back `quarters`
FILES: dict[str, tuple[bytes, bool]] = {
    "rgb.png": (saved(quarters(), "PNG"), True),
    "palette.png": (saved(quarters().quantize(4), "PNG"), True),
    "clear palette.png": (saved(quarters().quantize(4), "PNG", transparency=bytes(4)), False),
    "alpha.png": (saved(CLEAR, "PNG"), False),
    "16-bit.png": (sixteen_bits(3), True),
    "16-bit grey.png": (sixteen_bits(1), False),
    "animated.png": (saved(frames()[0], "PNG", save_all=True, append_images=frames()[1:]), True),
    "x.gif": (saved(quarters(), "GIF"), True),
    "animated.gif": (saved(frames()[0], "GIF", save_all=True, append_images=frames()[1:]), True),
    "x.bmp": (saved(quarters(), "BMP"), True),
    "x.tiff": (saved(quarters(), "TIFF"), True),
    "packed.tiff": (saved(quarters(), "TIFF", compression="tiff_lzw"), True),
    "cmyk.tiff": (saved(quarters().convert("CMYK"), "TIFF"), True),
    "x.ppm": (saved(quarters(), "PPM"), True),
    "x.jpg": (saved(quarters(), "JPEG", quality=100, subsampling=0), True),
    "cmyk.jpg": (saved(quarters().convert("CMYK"), "JPEG", quality=100), True),
    "grey.jpg": (saved(quarters().convert("L"), "JPEG"), False),
    "progressive.jpg": (saved(quarters(), "JPEG", progressive=True, quality=100, subsampling=0), True),
    "rotated.jpg": (rotated(), True),
}
if features.check("webp"):
    FILES |= {
        "x.webp": (saved(quarters(), "WEBP", lossless=True), True),
        "animated.webp": (
            saved(frames()[0], "WEBP", save_all=True, append_images=frames()[1:], lossless=True),
            True,
        ),
    }
RGB = np.asarray(quarters()).transpose(2, 0, 1)


def near(image: np.ndarray, loss: int) -> bool:
    return np.abs(image.astype(int) - RGB).max() <= loss


@pytest.mark.parametrize("name", FILES)
def test_whole_files_are_read_upright_and_their_first_frame(name: str, tmp_path: Path) -> None:
    content, same = FILES[name]
    (tmp_path / name).write_bytes(content)
    image = decode(tmp_path / name, 8, grey=False)
    assert near(image, 12 if name.endswith("jpg") else 0) == same
    if name == "alpha.png":
        expected = [tuple((v + 255) // 2 for v in colour) for colour in UPRIGHT]
        assert np.abs(np.array(corners(image)) - expected).max() <= 1
    if name == "clear palette.png":
        assert corners(image) == [WHITE] * 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


def read(path: Path, content: bytes) -> np.ndarray | None:
    """What the bytes in a file of this name give: 3 x 8 x 8 bytes, or a refusal that names the file."""
    path.write_bytes(content)
    images, message = refused(lambda: decode_all([path], 8, grey=False))
    note("refused" if message else "read")
    if images is None:
        assert message.startswith(f"{path} cannot be read (")
        assert message.endswith("): repair or remove such files")
        return None
    assert images.shape == (1, 3, 8, 8)
    assert images.dtype == np.uint8
    return images[0]


@pytest.mark.filterwarnings("ignore")  # Pillow warns of some damage that it can live with
@given(name=st.sampled_from(sorted(FILES)), data=st.data())
def test_damaged_images(folder: Path, name: str, data: st.DataObject) -> None:
    read(folder / name, data.draw(damaged(FILES[name][0])))


@pytest.mark.filterwarnings("ignore")
@given(name=st.sampled_from(sorted(name for name, (_, same) in FILES.items() if same)), data=st.data())
def test_a_truncated_image_is_never_half_an_image(folder: Path, name: str, data: st.DataObject) -> None:
    """It may end before its last bytes, where all pixels are there."""
    content = FILES[name][0]
    image = read(folder / name, content[: data.draw(st.integers(0, len(content) - 1))])
    assert image is None or near(image, 12 if name.endswith("jpg") else 0)


@given(name=st.sampled_from(["x.png", "x.jpg", "x.gif", "x.webp", "x.tiff", "x.bmp"]), content=st.binary(max_size=60))
@pytest.mark.filterwarnings("ignore")
def test_any_bytes(folder: Path, name: str, content: bytes) -> None:
    read(folder / name, content)


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12).filter(
    lambda name: name[0] not in ".~"
)


@given(
    names=st.lists(NAMES, min_size=3, max_size=3, unique_by=lambda name: os.fsencode(name + ".png")), bad=st.booleans()
)
def test_any_file_names(tmp_path_factory: pytest.TempPathFactory, names: list[str], bad: bool) -> None:
    """Unicode, line breaks and control characters; and, as surrogates, bytes that are not UTF-8."""
    folder = tmp_path_factory.mktemp("names")
    for name in names:
        (folder / f"{name}.png").write_bytes(FILES["rgb.png"][0])
    if bad:
        (folder / f"{names[0]}.png").write_bytes(b"")
    splits, message = refused(lambda: load(folder))
    assert (splits is None) == bad == bool(message)
    if bad:
        assert message.startswith(str(folder))


@given(name=st.binary(min_size=1, max_size=8).filter(lambda name: not {0, ord("/")} & set(name) and name[:1] != b"."))
@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow Unicode names only")
def test_names_of_classes_in_any_bytes(tmp_path_factory: pytest.TempPathFactory, name: bytes) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    inside = os.fsdecode(os.fsencode(folder) + b"/" + name)
    classes(Path(inside), 3, "deeper")
    classes(folder, 3, "other than any of 8 bytes")
    splits = load(folder)
    assert set(splits.classes) == {os.fsdecode(name), "other than any of 8 bytes"}
    assert len(splits.train) == 2


@given(
    name=st.text(max_size=300) | st.sampled_from(["~nobody-of-this-name/x", "a" * 300, "/" * 5000, "\0", "\udcff", "~"])
)
def test_any_path(name: str) -> None:
    if os.path.isdir(os.path.expanduser(name)):
        return
    _, message = refused(lambda: data.load(f"folder:{name}", image_size=8))
    assert "folder" in message


# What is not a file with an image in it


def linked(to: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(to)


def no_one_reads(path: Path) -> None:
    paint(path, 1)
    path.chmod(0)


ODD: dict[str, tuple[Callable[[Path], None], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "cannot identify image file"),
    "text": (lambda path: path.write_text("no image"), "cannot identify image file"),
    "dangling link": (linked("gone.png"), "No such file or directory"),
    "link to itself": (linked("x.png"), "Too many levels of symbolic links"),
    "unreadable": (no_one_reads, "Permission denied"),
    "refused by the system": (linked("/proc/self/mem"), "Input/output error"),
}


@pytest.fixture
def promptly() -> Iterator[None]:
    """A reader of a pipe would wait for ever."""
    timer = threading.Timer(60, lambda: os._exit(70))
    timer.start()
    yield
    timer.cancel()


@pytest.mark.usefixtures("promptly")
@pytest.mark.parametrize("what", ODD)
def test_what_is_no_image_is_named(what: str, tmp_path: Path) -> None:
    if what == "unreadable" and os.geteuid() == 0:
        pytest.skip("root reads every file: the case 'refused by the system' stands in for it")
    if what == "refused by the system" and not Path("/proc/self/mem").exists():
        pytest.skip("there is no /proc here")
    make, reason = ODD[what]
    make(classes(tmp_path, 3, "a") / "a" / "x.png")
    message = refusal(tmp_path)
    assert message.startswith(f"{tmp_path}/a/x.png cannot be read (")
    assert reason in message


@pytest.mark.usefixtures("promptly")
def test_pipes_and_devices_are_left_out_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = classes(tmp_path / "images", 3, "a", "b")
    os.mkfifo(folder / "a" / "x.png")
    os.mkfifo(folder / "b" / "y.PNG")
    (folder / "a" / "zero.jpg").symlink_to("/dev/zero")
    monkeypatch.chdir(folder / "b")  # the path of a socket may have 107 characters
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("z.png")
        with pytest.warns(UserWarning, match=r"4 files were ignored in .*: 2 pipes, 1 device, 1 socket$"):
            splits = load(folder)
    assert sum(map(len, (splits.train, splits.valid, splits.test))) == 6
    os.mkfifo(tmp_path / "x.png")
    with pytest.warns(UserWarning, match="pipes"):
        assert len(named_images(folder, 8, grey=True)[0]) == 6
    with pytest.warns(UserWarning, match="pipes"):
        assert len(named_paths(folder)) == 6
    for reader in (
        lambda: decode_all([tmp_path / "x.png"], 8, grey=True),
        lambda: compress.read(tmp_path / "x.png", 3),
    ):
        with pytest.raises(InputError, match="it is not a file"):
            reader()
    (tmp_path / "pipes").mkdir()
    os.mkfifo(tmp_path / "pipes" / "x.png")
    assert "TIFF or WebP, only 1 pipe: give a folder that has some" in refusal(tmp_path / "pipes")


@pytest.mark.parametrize(
    ("at", "to"), [("a/loop", "."), ("a/loop", ".."), ("a/loop", "../.."), ("a/deep/loop", ".."), ("a/loop", "/")]
)
def test_a_link_back_is_refused(at: str, to: str, tmp_path: Path) -> None:
    folder = classes(tmp_path / "images", 3, "a", "b")
    (folder / "a" / "deep").mkdir()
    (folder / at).symlink_to(to)
    there = (folder / at).resolve()
    assert refusal(folder) == f"{folder / at} links to a folder that contains it, {there}: remove the link"


def test_links_to_each_other_are_refused(tmp_path: Path) -> None:
    folder = classes(tmp_path, 3, "a", "b")
    (folder / "a" / "b").symlink_to("../b")
    (folder / "b" / "a").symlink_to("../a")
    assert refusal(folder) == (f"{folder}/a/b/a links to a folder that contains it, {folder / 'a'}: remove the link")


def test_a_folder_that_is_linked_twice_is_no_loop(tmp_path: Path) -> None:
    paint(tmp_path / "elsewhere" / "x.png", 1)
    folder = classes(tmp_path / "images", 3, "a")
    (folder / "a" / "one").symlink_to(tmp_path / "elsewhere")
    (folder / "a" / "two").symlink_to(tmp_path / "elsewhere")
    splits = load(folder)
    assert sum(map(len, (splits.train, splits.valid, splits.test))) == 5


@pytest.mark.parametrize("side", [20_000, 60_000])
def test_a_bomb_takes_no_memory(side: int, tmp_path: Path) -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    body = zlib.compress(bytes(1 << 24))
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", body) + chunk(b"IEND", b""))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _, message = refused(lambda: decode_all([tmp_path / "x.png"], 8, grey=False))
    assert "decompression bomb" in message
    assert (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
    )  # KiB; the pixels would be 1.2 GB or more


def test_a_study_says_one_line_and_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (classes(tmp_path, 3, "a") / "a" / "new\nline\udcff.png").write_bytes(b"")
    words = ["--data", f"folder:{tmp_path}", "--out", str(tmp_path / "out"), "--store", str(tmp_path / "store")]
    assert main(STUDY, words) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"python -m studies.layerwise: {tmp_path}/a/new\\nline\\udcff.png cannot be read (")
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("kind", "values"), [(2, 3), (0, 1)])
def test_a_codec_does_not_halve_the_bits_of_an_image(kind: int, values: int, tmp_path: Path) -> None:
    raw = zlib.compress((b"\0" + b"\x12\x34" * 8 * values) * 8)
    (tmp_path / "deep.png").write_bytes(png(8, 8, 16, kind, chunk(b"IDAT", raw)))
    with pytest.raises(InputError, match=r"deep\.png has .*8 bits"):
        compress.read(tmp_path / "deep.png", values)
