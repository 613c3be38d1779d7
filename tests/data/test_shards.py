"""Images in tar and Parquet files: the numbers of the same images in a folder, and what is refused."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from stacked import data
from stacked.data import Splits
from stacked.data.sources.images.parquet_images import RowImages
from stacked.util.errors import InputError
from tests.helpers.folders import load, noise, same


def tar(path: Path, images: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in images.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def shards(folder: Path, home: Path) -> Path:
    """The images of a folder of classes as three tar files, in an order that differs from that of the folder."""
    paths = sorted(folder.rglob("*.*"), key=lambda path: path.name)
    for number in range(3):
        mine = paths[number * len(paths) // 3 : (number + 1) * len(paths) // 3]
        content = {f"x/{path.name}": path.read_bytes() for path in mine}
        content |= {f"x/{path.stem}.cls": path.parent.name.encode() for path in mine} | {"x/notes.txt": b"?"}
        tar(home / f"{number:06}.tar", content)
    return home


def sorted_by_name(folder: Path, home: Path) -> Path:
    """The images of a folder of classes as a flat folder, in the order of `shards`."""
    home.mkdir()
    for path in folder.rglob("*.*"):
        (home / path.name).write_bytes(path.read_bytes())
    return home


@pytest.mark.parametrize("on_disk", [False, True])
def test_tar_shards_hold_the_images_of_their_files(on_disk: bool, tmp_path: Path) -> None:
    folder = noise(tmp_path / "photos")
    shards(folder, tmp_path / "shards")
    cache = tmp_path / "cache" if on_disk else None
    splits = data.load("tar:shards", data_dir=tmp_path, image_size=8, disk_cache=cache)
    assert splits.classes == ("a", "b")
    wanted = load(folder)
    for part in ("train", "valid", "test"):
        assert getattr(splits, part).labels.bincount().tolist() == getattr(wanted, part).labels.bincount().tolist()
    assert pixels(splits) == pixels(wanted)


def pixels(splits: Splits) -> list[tuple[bytes, int]]:
    """Every image with its label, sorted."""
    parts = (splits.train, splits.valid, splits.test)
    return sorted(
        (x.numpy().tobytes(), int(y)) for part in parts for x, y in zip(part.inputs, part.labels, strict=True)
    )


def test_tar_shards_without_classes_have_the_splits_of_a_flat_folder(tmp_path: Path) -> None:
    folder = sorted_by_name(noise(tmp_path / "photos"), tmp_path / "flat")
    tar(tmp_path / "all.tar", {path.name: path.read_bytes() for path in sorted(folder.iterdir())})
    assert same(data.load("tar:all.tar", data_dir=tmp_path, image_size=8), load(folder))


def test_train_and_test_shards_are_official(tmp_path: Path) -> None:
    photos = noise(tmp_path / "photos")
    shards(photos, tmp_path / "sets" / "train")
    shards(noise(tmp_path / "others", 12), tmp_path / "sets" / "test")
    assert len(data.load("tar:sets", data_dir=tmp_path, image_size=8).test) == 12
    tar(tmp_path / "sets" / "more.tar", {})
    with pytest.raises(InputError, match=r"has train and test, and 1 files beside them, such as more\.tar"):
        data.load("tar:sets", data_dir=tmp_path, image_size=8)


def test_a_corrupt_member_is_named_with_its_shard(tmp_path: Path) -> None:
    """At most one of a hundred by default."""
    image = (noise(tmp_path / "photos", 1) / "a" / "000.jpg").read_bytes()
    content = {f"{number:03}.jpg": image for number in range(99)} | {"099.jpg": image[:100]}
    tar(tmp_path / "all.tar", content)
    with pytest.warns(UserWarning, match=r"^1 of 100 images cannot be read and are left out: .*all\.tar: 099\.jpg \("):
        splits = data.load("tar:all.tar", data_dir=tmp_path, image_size=8)
    assert sum(map(len, (splits.train, splits.valid, splits.test))) == 99
    tar(tmp_path / "all.tar", content | {"098.jpg": b""})
    with pytest.raises(InputError, match=r"all\.tar: 098\.jpg cannot be read .*, nor can 1 more"):
        data.load("tar:all.tar", data_dir=tmp_path, image_size=8)


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        (lambda content: content[: len(content) // 1024 * 512], "cannot be read as a tar file|broken or cut off"),
        (lambda content: content[:3072], "broken or cut off after 3,072 bytes"),
        (lambda content: content[:1536] + b"x" * 512 + content[2048:], "broken or cut off|cannot be read as a tar"),
        (lambda content: b"", "cannot be read as a tar file"),
    ],
)
def test_a_shard_that_is_cut_off_or_broken_is_refused(cut: object, message: str, tmp_path: Path) -> None:
    """tarfile itself ends at a broken header as at the end."""
    path = tar(tmp_path / "all.tar", {f"{k}.png": bytes([k]) * 1000 for k in range(6)})
    path.write_bytes(cut(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(InputError, match=message):
        data.load("tar:all.tar", data_dir=tmp_path, image_size=8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a.cls": b"1"}, "holds no images"),
        ({"a.png": b"", "a.jpg": b""}, "several images of the example 'a'"),
        ({"a.png": b"", "a.cls": b"x" * 201}, "a.cls has 201 bytes, and 200 are read at most"),
        ({"a.png": b"", "a.cls": b" "}, "an empty text"),
        ({"a.png": b"", "a.cls": b"\xff"}, "cannot be read"),
    ],
)
def test_tar_files_that_are_no_dataset_are_refused(content: dict[str, bytes], message: str, tmp_path: Path) -> None:
    tar(tmp_path / "all.tar", content)
    with pytest.raises(InputError, match=message):
        data.load("tar:all.tar", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ({"size": -1024}, r"a\.png has -1,024 bytes"),
        ({"pax_headers": {"comment": "x" * 2**21}}, "a header of more than 1,048,576 bytes"),
        ({"name": "notes.txt", "pax_headers": {"size": str(10**30)}}, ".* too large .*|cannot fit .*"),
        ({"pax_headers": {"GNU.sparse.map": "a"}}, "invalid literal for int.*|invalid header.*"),
    ],
)
def test_headers_with_sizes_that_are_no_sizes_are_refused(
    member: dict[str, object], message: str, tmp_path: Path
) -> None:
    info = tarfile.TarInfo("a.png")
    for name, value in member.items():
        setattr(info, name, value)
    header = info.tobuf(tarfile.PAX_FORMAT if info.pax_headers else tarfile.GNU_FORMAT)
    (tmp_path / "all.tar").write_bytes(header + bytes(4096))
    with pytest.raises(InputError, match=rf"cannot be read as a tar file without compression \({message}\)"):
        data.load("tar:all.tar", data_dir=tmp_path)


def test_links_in_a_tar_file_are_no_images(tmp_path: Path) -> None:
    link = tarfile.TarInfo("b.png")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with tarfile.open(tmp_path / "all.tar", "w") as archive:
        archive.addfile(link)
    with pytest.raises(InputError, match="holds no images"):
        data.load("tar:all.tar", data_dir=tmp_path)


@pytest.mark.parametrize("structs", [True, False])
def test_parquet_rows_hold_the_images_of_their_files(structs: bool, tmp_path: Path) -> None:
    """In row groups of 7 images in two files, as bytes or as structs, with and without labels."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    folder = noise(tmp_path / "photos")
    paths = sorted(folder.rglob("*.*"), key=lambda path: path.name)
    (tmp_path / "rows").mkdir()
    for number in range(2):
        mine = paths[20 * number : 20 * number + 20]
        bare = [path.read_bytes() for path in mine]
        table = {"image": [{"bytes": each, "path": None} for each in bare] if structs else bare}
        table |= {"label": [ord(path.parent.name) - 97 for path in mine]} if structs else {}
        parquet.write_table(pyarrow.table(table), tmp_path / "rows" / f"{number}.parquet", row_group_size=7)
    found = [
        data.load("parquet-images:rows", data_dir=tmp_path, image_size=8, disk_cache=cache)
        for cache in (None, tmp_path / "cache")
    ]
    assert same(*found)
    if structs:
        assert found[0].classes == ("0", "1")
        assert pixels(found[0]) == pixels(load(folder))
    else:
        assert same(found[0], load(sorted_by_name(folder, tmp_path / "flat")))


def test_parquet_tables_without_images_are_refused(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    for table, message in (
        ({"x": [1, 2]}, "no column 'image' of bytes"),
        ({"image": ["a", "b"]}, "no column 'image' of bytes"),
        ({"image": [b"a", b"b"], "label": [0.5, 1.5]}, "a column 'label' of double"),
        ({"image": pyarrow.array([], pyarrow.binary())}, "has no rows"),
    ):
        parquet.write_table(pyarrow.table(table), tmp_path / "x.parquet")
        with pytest.raises(InputError, match=message):
            data.load("parquet-images:x.parquet", data_dir=tmp_path)
    (tmp_path / "x.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(InputError, match="cannot be read as a Parquet file"):
        data.load("parquet-images:x.parquet", data_dir=tmp_path)


def test_a_row_group_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    images = [path.read_bytes() for path in noise(tmp_path / "photos").rglob("*.*")]
    parquet.write_table(pyarrow.table({"image": images}), tmp_path / "x.parquet", row_group_size=10)
    content = bytearray((tmp_path / "x.parquet").read_bytes())
    content[4:104] = bytes(100)
    (tmp_path / "x.parquet").write_bytes(content)
    asked = []

    def read_group(self: RowImages, file: int, group: int) -> object:
        asked.append(group)
        return before(self, file, group)

    before = RowImages._read_group
    monkeypatch.setattr(RowImages, "_read_group", read_group)
    with pytest.raises(InputError, match=r"x\.parquet: row 0 of row group 0 cannot be read \(.*\), nor can 9 more"):
        data.load("parquet-images:x.parquet", data_dir=tmp_path)
    assert len(asked) <= 3 * 4  # once for each split, also the group that cannot be read


def test_an_image_that_many_rows_share_is_in_memory_once(tmp_path: Path) -> None:
    """As in the file, whose size does not tell how often its values are repeated."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    image = bytes(2**16)
    for values in ([image] * 500, [{"bytes": image, "path": None}] * 500):
        parquet.write_table(pyarrow.table({"image": values}), tmp_path / "x.parquet")
        images, before = RowImages([tmp_path / "x.parquet"], [(0, 0, 499)]), pyarrow.total_allocated_bytes()
        assert images.read(0) == image
        assert pyarrow.total_allocated_bytes() - before < 20 * len(image)


def test_classes_of_rows_are_names_and_may_be_missing(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    images = [path.read_bytes() for path in sorted(noise(tmp_path / "photos").rglob("*.*"))]
    for names, kind in (
        (["b", "a"], pyarrow.string()),
        (["b", "a"], pyarrow.large_string()),
        ([12, 3], pyarrow.int32()),
    ):
        label = pyarrow.array([*names * 19, None, None], kind)
        for column in (label, label.dictionary_encode()):
            parquet.write_table(
                pyarrow.table({"image": images, "label": column}), tmp_path / "x.parquet", row_group_size=9
            )
            found = data.load("parquet-images:x.parquet", data_dir=tmp_path, image_size=8)
            assert found.classes == tuple(sorted(map(str, names), key=int if names[0] == 12 else str))
            labels = [part.labels for part in (found.train, found.valid, found.test)]
            assert [sum(int((each == k).sum()) for each in labels) for k in (-1, 0, 1)] == [2, 19, 19]
    for table, message in (
        (pyarrow.table({"image": images, "label": ["x" * 201] * 40}), "a class of 201 characters"),
        (pyarrow.table([images, [1] * 40, [2] * 40], ["image", "label", "label"]), "several columns 'label'"),
    ):
        parquet.write_table(table, tmp_path / "x.parquet")
        with pytest.raises(InputError, match=message):
            data.load("parquet-images:x.parquet", data_dir=tmp_path)
