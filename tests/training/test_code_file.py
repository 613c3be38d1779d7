"""Codes of frozen stages in a memory-mapped file: the numbers of codes in memory, and no file left."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stacked.data.formats.mapped import temporary
from stacked.runs.run import run
from stacked.training import code_cache
from stacked.training.code_cache import MOST_BYTES, choose_cache
from stacked.training.codes import InMemory, Recomputed, StoredInputs
from stacked.util.errors import InputError
from tests.helpers.runs import SPEC, numbers, same_weights
from tests.helpers.splits import toy_splits
from tests.training.test_fit import stack_of


def test_large_codes_go_to_a_file_where_there_is_a_folder(tmp_path: Path) -> None:
    assert choose_cache(1, 50, 100, 30, 10, "memory", folder=tmp_path).folder is None  # small
    large = choose_cache(1, 2**24, 100, 30, 10, "memory", folder=tmp_path)
    assert (large.mode, large.folder, large.bytes) == ("memory", tmp_path, 400 * 2**24)
    assert large.bytes > MOST_BYTES
    assert choose_cache(1, 50, 100, 30, 10, "memory", 1000, tmp_path).folder == tmp_path  # little memory
    assert choose_cache(1, 2**24, 100, 30, 10, folder=tmp_path).mode == "recompute"  # auto chooses as without a folder
    with pytest.raises(InputError, match=r"or give a disk_cache|give a disk_cache \(--disk-cache DIR\)"):
        choose_cache(1, 50, 100, 30, 10, "memory", free=1000)


@pytest.mark.parametrize("kind", ["conv", "dense"])
def test_codes_in_a_file_have_the_values_and_the_layout_of_those_in_memory(kind: str, tmp_path: Path) -> None:
    """The layout too, because kernels round differently for another one; also for a number of images that no batch divides."""
    stack = stack_of(4, 6, kind=kind).eval()
    images = StoredInputs(torch.randint(0, 256, (50, *stack.input_shape), dtype=torch.uint8))
    one, other = (InMemory(Recomputed(stack, 1, images), 16, folder) for folder in (None, tmp_path))
    assert torch.equal(one.codes, other.codes)
    assert one.codes.stride() == other.codes.stride()
    index = torch.tensor([49, 0, 7])
    assert torch.equal(one(index), other(index))
    assert one(index).stride() == other(index).stride()
    assert list(tmp_path.iterdir()) == []  # the file has no name


def test_a_run_on_codes_in_a_file_equals_one_on_codes_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits, made = toy_splits(100), []
    monkeypatch.setattr(code_cache, "MOST_BYTES", 0)
    monkeypatch.setattr("stacked.training.codes.temporary", lambda *given: made.append(given) or temporary(*given))
    one = run(SPEC, splits, codes="memory")
    assert made == []
    other = run(SPEC, splits, codes="memory", disk_cache=tmp_path / "cache")
    assert len(made) == 1  # stage 2 reads codes of stage 1
    assert repr(numbers(one)) == repr(numbers(other))
    assert same_weights(one.stack, other.stack)


def test_a_full_disk_is_told_before_codes_are_computed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the codes of frozen stages take 1,048,576\.0 GiB, and .* are free in"):
        temporary((2**40, 256), torch.float32, tmp_path)
