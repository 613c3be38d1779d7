"""Images larger than memory: decoded once into a memory-mapped file, with the numbers of images in memory, bit for bit."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from stacked import Budget, DataSpec, Optimisation, RunSpec, StackSpec, data, run
from stacked.data.formats.mapped import MappedPart, mapped_part
from stacked.data.image_files import image as decoding
from stacked.data.image_files import image_cache
from stacked.data.shared import Reader, shared
from stacked.runtime import free_memory
from stacked.spec import Classification, Evaluation
from stacked.util.errors import InputError
from stacked.util.serialization import to_json
from tests.helpers.folders import load, noise, same
from tests.helpers.images import classes
from tests.helpers.runs import numbers, same_weights

SPEC = RunSpec(
    policy="greedy+finetune",
    stack=StackSpec.of("conv", 4, 6),
    budget=Budget(stages=4, end_to_end=4, unit="updates"),
    optimisation=Optimisation(batch_size=8),
    evaluation=Evaluation(every=4, probe_every=1),
    classification=Classification(labels=(8,), lrs=(1e-2,), updates=4, checks=1, batch_size=4),
)


def files(cache: Path) -> list[str]:
    return sorted(path.suffix for path in cache.iterdir())


def test_a_run_on_mapped_images_equals_one_on_images_in_memory(tmp_path: Path) -> None:
    """Curve, final errors, weights and classifier, of runs on one folder."""
    folder, cache = noise(tmp_path / "photos"), tmp_path / "cache"
    spec = replace(SPEC, data=DataSpec("folder:photos", image_size=8))
    in_memory, mapped = load(folder), load(folder, disk_cache=cache)
    assert [mapped_part(part.inputs) is None for part in (in_memory.train, mapped.train)] == [True, False]
    assert same(in_memory, mapped)
    one, other = (run(spec, splits) for splits in (in_memory, mapped))
    assert repr(numbers(one)) == repr(numbers(other))  # repr, in which NaN equals NaN
    assert same_weights(one.stack, other.stack)
    assert same_weights(one.classifiers["8"], other.classifiers["8"])


@pytest.mark.parametrize("options", [{"valid": 0.3}, {"grey": True}, {"limit": 9}])
def test_options_have_the_same_images_from_memory_and_from_the_file(options: dict[str, object], tmp_path: Path) -> None:
    folder = noise(tmp_path / "photos")
    assert same(load(folder, **options), load(folder, disk_cache=tmp_path / "cache", **options))


def test_official_test_images_have_the_same_place(tmp_path: Path) -> None:
    noise(tmp_path / "photos" / "train", 30)
    noise(tmp_path / "photos" / "test", 10)
    one, other = load(tmp_path / "photos"), load(tmp_path / "photos", disk_cache=tmp_path / "cache")
    assert len(one.test) == 10
    assert same(one, other)


def test_images_are_decoded_once_until_one_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, cache = noise(tmp_path / "photos"), tmp_path / "cache"
    first = load(folder, disk_cache=cache)
    assert files(cache) == [".images", ".json", ".lock"]
    with monkeypatch.context() as patched:
        patched.setattr(image_cache, "decode_each", lambda *_: pytest.fail("decoded again"))
        assert same(load(folder, disk_cache=cache), first)
    Image.new("RGB", (30, 30), "red").save(folder / "a" / "000.jpg")
    changed = load(folder, disk_cache=cache)
    assert not same(changed, first)
    assert same(changed, load(folder))


def test_a_file_that_was_cut_off_is_written_again(tmp_path: Path) -> None:
    folder, cache = noise(tmp_path / "photos"), tmp_path / "cache"
    load(folder, disk_cache=cache)
    path = next(cache.glob("*.images"))
    path.write_bytes(path.read_bytes()[:-1])
    assert same(load(folder, disk_cache=cache), load(folder))


@pytest.mark.parametrize("record", ["", "[]", "{}", '{"unreadable": 1}', '{"unreadable": [1]}', '{"more": 1}'])
def test_a_damaged_record_is_written_again(record: str, tmp_path: Path) -> None:
    folder, cache = noise(tmp_path / "photos"), tmp_path / "cache"
    load(folder, disk_cache=cache)
    (path,) = cache.glob("*.json")
    written = path.read_text()
    for damaged in (path, path.with_suffix(".progress")):
        path.unlink(missing_ok=True)
        damaged.write_text(record)
        assert same(load(folder, disk_cache=cache), load(folder))
        assert path.read_text() == written


def test_writing_to_mapped_images_changes_no_file(tmp_path: Path) -> None:
    folder, cache = noise(tmp_path / "photos"), tmp_path / "cache"
    load(folder, disk_cache=cache).train.inputs.zero_()
    assert same(load(folder, disk_cache=cache), load(folder))


@pytest.mark.parametrize("after", [0, 7, 40])
def test_decoding_continues_where_it_was_interrupted(
    after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After no image, some of them, one of which is unreadable, and all of them; other bytes at the end are cut off."""
    folder, cache, whole = noise(tmp_path / "photos"), tmp_path / "cache", image_cache.decode_each
    (folder / "a" / "004.png").write_bytes(b"no image")
    options = {"most_unreadable": 0.1, "disk_cache": cache}
    asked: list[int] = []

    def interrupted(images: object, order: list[int], *given: object) -> object:
        for done, each in enumerate(whole(images, order, *given)):  # type: ignore[arg-type]
            if done == after:
                raise KeyboardInterrupt
            yield each
        raise KeyboardInterrupt

    def counted(images: object, order: list[int], *given: object) -> object:
        asked.extend(order)
        return whole(images, order, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(image_cache, "decode_each", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load(folder, **options)
    assert files(cache) == [".lock", ".part", ".progress"]
    with next(cache.glob("*.part")).open("ab") as file:
        file.write(b"written after the last record")
    monkeypatch.setattr(image_cache, "decode_each", counted)
    with pytest.warns(UserWarning, match="^1 of 40 images cannot be read"):
        found = load(folder, **options)
    assert len(asked) == 40 - after
    with pytest.warns(UserWarning, match="^1 of 40 images cannot be read"):
        assert same(found, load(folder, most_unreadable=0.1))
    assert files(cache) == [".images", ".json", ".lock"]


@pytest.mark.parametrize("on_disk", [False, True])
def test_unreadable_images_are_counted_named_and_left_out_up_to_a_share(on_disk: bool, tmp_path: Path) -> None:
    folder = noise(tmp_path / "photos")
    cache = {"disk_cache": tmp_path / "cache"} if on_disk else {}
    before = load(folder)
    for name in ("a/004.png", "b/007.png"):
        (folder / name).write_bytes(b"no image")
    with pytest.raises(InputError, match=r"00[47]\.png cannot be read .*: repair or remove such files$"):
        load(folder, **cache)
    with pytest.raises(
        InputError, match=r"004\.png cannot be read .*, nor can 1 more: .*--most-unreadable, 0\.04 of 40"
    ):
        load(folder, most_unreadable=0.04, **cache)
    for _ in range(2):  # the second time from the report in the cache
        with pytest.warns(UserWarning, match=r"^2 of 40 images cannot be read and are left out: .*004\.png .*007\.png"):
            splits = load(folder, most_unreadable=0.05, **cache)
    assert sum(map(len, (splits.train, splits.valid, splits.test))) == 38
    for name in ("train", "valid", "test"):  # the others are where they were
        old, new = getattr(before, name), getattr(splits, name)
        rows = iter(zip(old.inputs, old.labels, strict=True))
        for image, label in zip(new.inputs, new.labels, strict=True):
            assert any(torch.equal(image, kept) and label == mine for kept, mine in rows)


def test_an_image_that_can_be_read_again_is_read_again(tmp_path: Path) -> None:
    """Without a change of its size or time, as after a change of its permissions; after an error, and in a complete file."""
    folder, cache = noise(tmp_path / "photos"), tmp_path / "cache"
    path, wanted = folder / "a" / "004.png", load(folder)
    content, times = path.read_bytes(), (path.stat().st_atime_ns, path.stat().st_mtime_ns)

    def write(given: bytes) -> None:
        path.write_bytes(given)
        os.utime(path, ns=times)

    for allowed in (None, 0.1):
        write(bytes(len(content)))
        with pytest.raises(InputError) if allowed is None else pytest.warns(UserWarning, match="^1 of 40 images"):
            load(folder, disk_cache=cache / str(allowed), most_unreadable=allowed)
        write(content)
        assert same(load(folder, disk_cache=cache / str(allowed)), wanted)


@pytest.mark.parametrize("on_disk", [False, True])
def test_lack_of_memory_makes_no_image_unreadable(
    on_disk: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decoded(*given: object) -> object:
        if "007" in str(given[0]):
            raise MemoryError
        return before(*given)  # type: ignore[arg-type]

    folder, before = noise(tmp_path / "photos"), decoding._decoded
    cache = {"disk_cache": tmp_path / "cache"} if on_disk else {}
    with monkeypatch.context() as patch:
        patch.setattr(decoding, "_decoded", decoded)
        with pytest.raises(InputError, match=r"there is too little memory to read .*007\.png"):
            load(folder, most_unreadable=1.0, **cache)
    assert same(load(folder, **cache), load(folder))


def test_encoded_images_are_read_ahead_up_to_a_number_of_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the bound on their number: images in shards are in memory from when they are read."""
    content = [path.read_bytes() for path in sorted(noise(tmp_path / "photos").rglob("*.png"))]

    class Held:
        """Encoded images in memory, which counts those that it was asked for."""

        asked = 0

        def __len__(self) -> int:
            return len(content)

        def name(self, number: int) -> str:
            return str(number)

        def read(self, number: int) -> bytes:
            self.asked += 1
            return content[number]

        def state(self, number: int) -> str:
            return ""

        def where(self) -> str:
            return ""

    largest = max(map(len, content))
    monkeypatch.setattr(decoding, "AHEAD_BYTES", 3 * largest)
    images = Held()
    for place, found in enumerate(decoding.decode_each(images, range(len(content)), 8, False), start=1):
        assert found.pixels is not None
        assert sum(map(len, content[place : images.asked - 1])) <= 3 * largest
    assert images.asked == len(content)


def test_workers_map_the_file_and_no_copy_of_it(tmp_path: Path) -> None:
    splits = load(noise(tmp_path / "photos"), disk_cache=tmp_path / "cache")
    digest = splits.digest
    with shared(splits) as place:
        mine = [shape for path, _, shape, _ in place.arrays if path.endswith(".images")]
        read = Reader(place).splits
    assert [shape[0] for shape in mine] == [len(read.train), len(read.valid), len(read.test)]
    assert read.digest == digest


def test_a_file_larger_than_memory_can_be_mapped(tmp_path: Path) -> None:
    """4 TiB, of which nothing is on the disk; a mapping for which memory is reserved is refused by Linux."""
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**42)
    found = MappedPart(str(tmp_path / "sparse"), 2**20, (2**42 - 2**20,), "uint8").tensor()
    assert (len(found), int(found[-1])) == (2**42 - 2**20, 0)


def test_too_little_room_is_told_before_images_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = classes(tmp_path / "photos", 12, "a", "b")
    with pytest.raises(InputError, match=r"decoded images take .* GiB, and .* are free in .*: free some space"):
        load(folder, image_size=1_000_000, disk_cache=tmp_path / "cache")
    monkeypatch.setattr(free_memory, "free_bytes", lambda device: 1000)
    with pytest.raises(InputError, match=r"need 0\.0 GiB of memory, more than is available: .*--disk-cache DIR"):
        load(folder)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), "half"])
def test_a_share_is_from_0_to_1(share: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"most_unreadable .* is not allowed: give a share from 0 to 1"):
        DataSpec("folder:photos", most_unreadable=share)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^most_unreadable does not apply to 'digits'"):
        DataSpec("digits", most_unreadable=0.1)
    with pytest.raises(InputError, match="disk_cache does not apply to 'digits'"):
        data.load("digits", disk_cache=tmp_path)


def test_specs_keep_their_ids() -> None:
    assert "most_unreadable" not in to_json(RunSpec())
    assert RunSpec(data=DataSpec("tar:x", most_unreadable=0.5)).id != RunSpec(data=DataSpec("tar:x")).id


READING = """
import re, sys
import torch
from pathlib import Path
from stacked import data
from stacked.data.order import Order
from stacked.training.codes import StoredInputs

def own():
    return 1024 * int(re.findall(r"RssAnon:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[0])

home, cache = sys.argv[1:]
data.load("folder:few", data_dir=home, image_size=256, disk_cache=cache)  # libraries are loaded, and threads have begun
before = own()
splits = data.load("folder:many", data_dir=home, image_size=256, disk_cache=cache)
reads, order = StoredInputs(splits.train.inputs), Order(len(splits.train), 8, 0)
peak = 0
for update in range(2 * order.updates_per_epoch):
    reads(order.batch(update)).sum()
    peak = max(peak, own())
splits.digest
print(splits.train.inputs.nbytes, max(peak, own()) - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_flat_while_images_are_decoded_and_read(tmp_path: Path) -> None:
    """1,000 images of 197 kB, from a process that has decoded some before."""
    for name, count in (("few", 30), ("many", 1000)):
        (tmp_path / name).mkdir()
        for number in range(count):
            Image.new("RGB", (64, 64), (number % 256, 9, 9)).save(tmp_path / name / f"{number:04}.png")
    command = [sys.executable, "-c", READING, str(tmp_path), str(tmp_path / "cache")]
    size, growth = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert size > 140e6
    assert growth < 0.15 * size


def test_a_second_reader_warns_of_nothing(tmp_path: Path) -> None:
    folder = noise(tmp_path / "photos")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            load(folder, disk_cache=tmp_path / "cache")
