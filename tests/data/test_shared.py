"""Data that worker processes share: there once however many read them, the same to the bit, and gone with the last reader."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from stacked.data.formats.split import Split, Splits
from stacked.data.shared import Place, Reader, shared
from stacked.runtime import free_memory
from stacked.util.errors import InputError
from studies.execution.worker import WORKER_DATA, prepare_worker
from tests.helpers.splits import toy_splits

ROOT = Path(__file__).parents[2]
linux = pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="reads the memory of a process from /proc")


def of_photographs(count: int) -> Splits:
    """Images of noise, 3x224x224, training and validation ones in the same memory, as `hold_out` leaves them."""
    both = torch.randint(0, 256, (count, 3, 224, 224), dtype=torch.uint8)
    part = count // 2
    labels = torch.arange(count)
    splits = [Split(both[:part], labels[:part]), Split(both[part:], labels[part:]), Split(both[:1].clone(), labels[:1])]
    return Splits("noise", *splits, ("a", "b"))


def equal(one: Splits, other: Splits) -> bool:
    named = (one.name, one.classes) == (other.name, other.classes)
    return named and one.digest == other.digest and one.input_shape == other.input_shape


@pytest.mark.parametrize("without_names", [True, False])
def test_what_is_shared_is_the_same(without_names: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In memory without a name, or where a system has none, in a file that is removed."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if not without_names:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    before, splits = toy_splits(31), toy_splits(31)
    with shared(splits) as place:
        assert len(list(tmp_path.iterdir())) == (not without_names)
        read = Reader(place).splits
        assert equal(read, before)
        assert equal(splits, before)
        assert torch.equal(read.test.labels, before.test.labels)
        # one process does not write into the data of another
        read.train.inputs.zero_()
        read.train.labels.zero_()
        assert equal(splits, before)
    assert list(tmp_path.iterdir()) == []
    assert equal(splits, before)


def test_a_split_without_images_can_be_shared() -> None:
    splits = toy_splits(8)
    empty = splits.train.take(torch.arange(0))
    with shared(Splits("few", splits.train, empty, splits.test, ())) as place:
        assert [len(part) for part in (Reader(place).splits.valid, Reader(place).splits.test)] == [0, 4]


def test_too_little_memory_is_told_before_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_memory, "free_bytes", lambda device: 1000)
    with (
        pytest.raises(InputError, match=r"^the examples take 0\.0 GiB, and 0\.0 are free .*: give --jobs 1"),
        shared(toy_splits(8)),
    ):
        pass


def memory_of_images() -> int:
    """Bytes of this process's share of the memory that shared data lie in."""
    maps = Path("/proc/self/smaps").read_text()
    found = re.findall(r"memfd:stacked.*?\nPss: +(\d+) kB", maps, re.DOTALL)
    return 1024 * sum(map(int, found))


def own_memory() -> int:
    """Bytes of this process alone, of no file, but for what its allocator keeps for later."""
    ctypes.CDLL(None).malloc_trim(0)
    return 1024 * int(re.findall(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())[0])


def reads_all(folder: Path, readers: int) -> tuple[int, int, int]:
    """Read all images, wait for others to have done so, and tell (their sum, this one's share of them, memory of its own)."""
    splits = WORKER_DATA[0].splits
    before = own_memory()
    total = sum(int(part.inputs.sum()) for part in (splits.train, splits.valid, splits.test))
    (folder / str(os.getpid())).touch()
    deadline = time.monotonic() + 60
    while len(list(folder.iterdir())) < readers and time.monotonic() < deadline:
        time.sleep(0.02)
    told = total, memory_of_images(), own_memory() - before
    (folder / f"{os.getpid()} told").touch()
    while len(list(folder.iterdir())) < 2 * readers and time.monotonic() < deadline:
        time.sleep(0.02)
    return told


@pytest.mark.slow
@linux
def test_images_are_in_memory_once_for_all_workers(tmp_path: Path) -> None:
    """Counted in proportion to who uses a page: with each worker's own images it would be three times as much."""
    splits, workers = of_photographs(400), 2
    size = sum(part.inputs.nbytes for part in (splits.train, splits.valid, splits.test))
    total = sum(int(part.inputs.sum()) for part in (splits.train, splits.valid, splits.test))
    before = own_memory()
    with shared(splits) as place:
        assert before - own_memory() > 0.9 * size  # moved, not copied
        pool = ProcessPoolExecutor(
            workers, multiprocessing.get_context("spawn"), initializer=prepare_worker, initargs=(os.getpid(), place)
        )
        with pool:
            told = [future.result() for future in [pool.submit(reads_all, tmp_path, workers) for _ in range(workers)]]
    assert [sums for sums, _, _ in told] == [total] * workers
    shares = [share for _, share, _ in told]
    assert sum(shares) == pytest.approx(size, rel=0.02)
    assert max(own for _, _, own in told) < 0.25 * size


SHARING = """
import sys, time
from tests.helpers.splits import toy_splits
from stacked.data.shared import shared
with shared(toy_splits(31)) as place:
    print(repr(place), flush=True)
    time.sleep(120)
"""


@linux
def test_who_has_opened_them_keeps_them_when_their_owner_is_killed(tmp_path: Path) -> None:
    """And nothing is left behind of them."""
    surroundings = os.environ | {"TMPDIR": str(tmp_path)}
    words = [sys.executable, "-c", SHARING]
    owner = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=surroundings)
    try:
        assert owner.stdout is not None
        known: dict[str, Any] = {"Place": Place}
        place = eval(owner.stdout.readline(), known)
        reader, other = Reader(place), place
    finally:
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    assert equal(reader.splits, toy_splits(31))
    with pytest.raises(FileNotFoundError):
        Reader(other)
    assert list(tmp_path.iterdir()) == []
    assert not list(Path("/dev/shm").glob("*stacked*"))
