"""Pictures that a study of a use keeps beside its rows, for its figures: arrays by name, a file an arm."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stacked.util.atomic import write_atomically
from studies.framework.names import slug

FOLDER = "samples"


def keep(out: Path, arm: str, arrays: Mapping[str, Any]) -> None:
    """Write the arrays of an arm into the folder `out` of a record."""
    content = io.BytesIO()
    given: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    np.savez_compressed(content, arm=np.array(arm), **given)
    write_atomically(out / FOLDER / f"{slug(arm)}.npz", content.getvalue())


def kept(out: Path) -> dict[str, dict[str, NDArray[Any]]]:
    """What `keep` wrote, by arm."""
    found = {}
    for path in sorted((out / FOLDER).glob("*.npz")):
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        found[str(arrays.pop("arm"))] = arrays
    return found
