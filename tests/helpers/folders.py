"""A folder of images as a dataset, or the sentence with which it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from stacked import data
from stacked.data import Splits
from stacked.util.errors import InputError


def load(folder: Path, **options: object) -> Splits:
    return data.load(f"folder:{folder.name}", data_dir=folder.parent, **{"image_size": 8, **options})  # type: ignore[arg-type]


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as error:
        load(folder)
    return str(error.value)
