"""Folders of images as datasets, or the sentence with which one is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stacked import data
from stacked.data import Splits
from stacked.util.errors import InputError


def load(folder: Path, **options: object) -> Splits:
    return data.load(f"folder:{folder.name}", data_dir=folder.parent, **{"image_size": 8, **options})  # type: ignore[arg-type]


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as error:
        load(folder)
    return str(error.value)


def noise(folder: Path, count: int = 40, side: int = 12) -> Path:
    """Images of random pixels in two classes, PNG and JPEG."""
    draw = np.random.default_rng(5)
    for number in range(count):
        path = folder / "ab"[number % 2] / f"{number:03}.{'jpg' if number % 5 == 0 else 'png'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path)
    return folder


def same(one: Splits, other: Splits) -> bool:
    """Whether all images, labels and names of classes are the same."""
    return one.digest == other.digest and one.classes == other.classes
