"""Images that are decoded at the same time hold a bounded number of pixels."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Lock

import numpy as np
import pytest
from PIL import Image

from stacked.data.image_files import image
from stacked.data.image_files.pixel_budget import PixelBudget


@pytest.mark.parametrize(("pixels", "together"), [(4, 2), (5, 2), (6, 1), (11, 1)])
def test_threads_hold_so_many_pixels_and_a_larger_image_is_alone(pixels: int, together: int) -> None:
    budget, lock, now, most = PixelBudget(10), Lock(), 0, 0
    full = Event()

    def decode(_: int) -> None:
        nonlocal now, most
        with budget.turn() as turn:
            turn.hold(pixels)
            with lock:
                now += 1
                most = max(most, now)
                if now == together:
                    full.set()
            assert full.wait(10)  # as many as fit do come together
            with lock:
                now -= 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(decode, range(12)))
    assert most == together


def test_pixels_are_given_back_after_an_error() -> None:
    budget = PixelBudget(10)

    def fail() -> None:
        with budget.turn() as turn:
            turn.hold(9)
            raise OSError

    for _ in range(3):
        with pytest.raises(OSError):  # noqa: PT011
            fail()
    with ThreadPoolExecutor(1) as pool, budget.turn() as turn:
        pool.submit(turn.hold, 10).result(10)
        assert turn.held == 10


def test_images_of_a_folder_are_decoded_in_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is decoded alone where two are more than the budget, broken ones too, and all come out as one by one."""
    paths = [tmp_path / f"{number}.png" for number in range(6)]
    for number, path in enumerate(paths):
        pixels = np.random.default_rng(number).integers(0, 2**16, (40, 30), dtype=np.uint16)
        Image.fromarray(pixels).save(path)
    now, most, read = 0, 0, image._pixels

    def noted(*words: object) -> object:
        nonlocal now, most
        now += 1
        most = max(most, now)
        try:
            return read(*words)  # type: ignore[arg-type]
        finally:
            now -= 1

    monkeypatch.setattr(image, "_pixels", noted)
    monkeypatch.setattr(image, "DECODED_AT_ONCE", PixelBudget(40 * 30))
    images = image.decode_all(paths, 8, grey=True)
    assert most == 1
    assert all(
        np.array_equal(found, image.decode(path, 8, grey=True)) for found, path in zip(images, paths, strict=True)
    )


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
@pytest.mark.parametrize("white", [65535, 4095])
def test_values_of_16_bits_are_scaled_part_by_part_as_in_one(
    mode: str, white: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(0).integers(0, 2**16, (37, 23), dtype=np.uint16)
    stored = values.astype(">u2" if mode == "I;16B" else "<u2")
    opened = Image.frombytes(mode, (23, 37), stored.tobytes())
    monkeypatch.setattr(image, "PART", 50)  # two rows
    scaled, largest = image._eight_bits(opened, white)
    assert largest == values.max()
    assert np.array_equal(np.asarray(scaled), np.round(np.minimum(values, white).astype(float) * (255 / white)))
