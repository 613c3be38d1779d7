"""Pictures that a study of a use keeps beside its rows, for its figures: arrays by name, a file an arm."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stacked.arrays import read_arrays
from stacked.atomic import write_atomically
from stacked.errors import UNREADABLE, InputError
from studies.names import slug

FOLDER = "samples"


def keep(out: Path, arm: str, arrays: Mapping[str, Any]) -> None:
    """Write the arrays of an arm into the folder `out` of a record."""
    content = io.BytesIO()
    given: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    np.savez_compressed(content, arm=np.array(arm), **given)
    write_atomically(out / FOLDER / f"{slug(arm)}.npz", content.getvalue())


def kept(out: Path) -> dict[str, dict[str, NDArray[Any]]]:
    """What `keep` wrote, by arm; InputError where a file cannot be read."""
    found = {}
    for path in sorted((out / FOLDER).glob("*.npz")):
        try:
            arrays = read_arrays(path)
            found[str(arrays.pop("arm"))] = arrays
        except (KeyError, *UNREADABLE) as error:
            raise InputError(f"{path} cannot be read ({error}): delete it or run the study again") from error
    return found
