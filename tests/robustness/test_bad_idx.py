"""IDX files with anything in them: read to the byte, or refused in one line before memory is taken."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stacked.data.formats import idx
from stacked.data.formats.idx import STEMS, IdxFolder, parse
from tests.helpers.refused import damaged, note, refusal

CLASSES = ("a", "b", "c")


def encoded(shape: tuple[int, ...], content: bytes, magic: bytes = b"\0\0\x08") -> bytes:
    return magic + bytes([len(shape)]) + b"".join(struct.pack(">I", n) for n in shape) + content


#: three images of 2 x 3 pixels, and their labels
GOOD = {stem: encoded((3, 2, 3), bytes(range(18))) if "images" in stem else encoded((3,), b"\0\1\2") for stem in STEMS}


def write(folder: Path, contents: dict[str, bytes], packed: bool) -> IdxFolder:
    for stem, content in contents.items():
        (folder / stem).unlink(missing_ok=True)
        (folder / f"{stem}.gz").unlink(missing_ok=True)
        (folder / (f"{stem}.gz" if packed else stem)).write_bytes(content)
    return IdxFolder(folder, {}, "get it again")


def holds(folder: IdxFolder, contents: dict[str, bytes]) -> None:
    """What is read is what the files say, to the byte; else the refusal ends in what to do."""
    found, refused = refusal(lambda: folder.read(CLASSES))
    note("refused" if refused else "read")
    if found is None:
        assert refused.endswith(": get it again")
        return
    for part, split in (("train", found.train), ("t10k", found.test)):
        images, labels = split.inputs[:, 0].numpy(), split.labels.numpy().astype("uint8")
        assert encoded(images.shape, images.tobytes()) == contents[f"{part}-images-idx3-ubyte"]
        assert encoded(labels.shape, labels.tobytes()) == contents[f"{part}-labels-idx1-ubyte"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("idx")


@given(stem=st.sampled_from(STEMS), data=st.data())
def test_damaged_files(folder: Path, stem: str, data: st.DataObject) -> None:
    contents = GOOD | {stem: data.draw(damaged(GOOD[stem]))}
    holds(write(folder, contents, packed=False), contents)


@given(stem=st.sampled_from(STEMS), data=st.data())
def test_damaged_packed_files(folder: Path, stem: str, data: st.DataObject) -> None:
    """Whatever is damaged in the gzip file, what is read has gzip's own checksum."""
    good = {name: gzip.compress(content, mtime=0) for name, content in GOOD.items()}
    files = good | {stem: data.draw(damaged(good[stem]))}
    try:
        contents = GOOD | {stem: gzip.decompress(files[stem])}
    except (OSError, EOFError, gzip.zlib.error):  # type: ignore[attr-defined]
        contents = {}
    holds(write(folder, files, packed=True), contents)


SIZES = st.sampled_from([0, 1, 2, 3, 4, 28, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1])


@given(
    stem=st.sampled_from(STEMS),
    shape=st.lists(SIZES, min_size=1, max_size=4),
    content=st.binary(max_size=40),
    magic=st.sampled_from([b"\0\0\x08"] * 4 + [b"\0\0\x09", b"\0\0\x0d", b"\x08\0\0"]),
)
@example(stem=STEMS[0], shape=[0, 2, 3], content=b"", magic=b"\0\0\x08")
@example(stem=STEMS[0], shape=[3, 0, 3], content=b"", magic=b"\0\0\x08")
@example(stem=STEMS[0], shape=[3, 3, 2], content=bytes(18), magic=b"\0\0\x08")
@example(stem=STEMS[1], shape=[3], content=b"\0\1\3", magic=b"\0\0\x08")
def test_other_headers(folder: Path, stem: str, shape: list[int], content: bytes, magic: bytes) -> None:
    """The sizes that a header declares need not be true: nothing is allocated for them."""
    contents = GOOD | {stem: encoded(tuple(shape), content, magic)}
    tracemalloc.start()
    holds(write(folder, contents, packed=False), contents)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000


@given(content=st.binary(max_size=60), dimensions=st.integers(1, 4))
def test_any_bytes_are_an_array_or_nothing(content: bytes, dimensions: int) -> None:
    array = parse(content, dimensions)
    assert array is None or encoded(array.shape, array.tobytes()) == content


def test_a_bomb_is_not_unpacked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idx, "MOST", 1 << 20)
    files = {name: gzip.compress(content) for name, content in GOOD.items()}
    found = write(folder, files | {STEMS[0]: gzip.compress(bytes(1 << 25))}, packed=True)
    tracemalloc.start()
    _, refused = refusal(lambda: found.read(CLASSES))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refused == (
        f"{folder / STEMS[0]}.gz decompresses to more than 1,048,576 bytes, which no file of this kind does: get it again"
    )
    assert peak < 1 << 23


def test_what_is_no_file_is_named(folder: Path) -> None:
    found = write(folder, GOOD, packed=False)
    (folder / STEMS[1]).unlink()
    assert refusal(lambda: found.read(CLASSES)) == (
        None,
        f"{folder / STEMS[1]} cannot be read (No such file or directory): get it again",
    )
    (folder / STEMS[1]).mkdir()
    assert (
        refusal(lambda: found.read(CLASSES))[1] == f"{folder / STEMS[1]} cannot be read (Is a directory): get it again"
    )
    (folder / STEMS[1]).rmdir()


def test_files_of_other_sizes_and_labels_are_refused(tmp_path: Path) -> None:
    """Switches no hash is known, nothing else would notice."""
    found = write(tmp_path, GOOD | {STEMS[2]: encoded((3, 3, 2), bytes(18))}, packed=False)
    assert refusal(lambda: found.read(CLASSES)) == (
        None,
        f"{tmp_path} has images of 2 x 3 but 3 x 2 pixels in its train and t10k files: get it again",
    )
    found = write(tmp_path, GOOD | {STEMS[1]: encoded((3,), b"\0\1\3")}, packed=False)
    assert refusal(lambda: found.read(CLASSES)) == (
        None,
        f"{tmp_path} has a label 3 in its train files, and labels are 0 to 2: get it again",
    )
