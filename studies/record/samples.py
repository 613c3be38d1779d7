"""Arrays of a record for its figures: one .npz file for each arm, in the folder samples/."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stacked.util.atomic import write_atomically
from studies.record.names import slug
from studies.statistics.reading import Arrays, arrays

FOLDER = "samples"


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays by name to a compressed .npz file."""
    content = io.BytesIO()
    named: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    np.savez_compressed(content, **named)
    write_atomically(path, content.getvalue())


def save_arrays(out: Path, arm: str, arrays: Mapping[str, Any]) -> None:
    """Write the arrays of an arm to the record in the folder `out`."""
    write_arrays(out / FOLDER / f"{slug(arm)}.npz", {"arm": np.array(arm), **arrays})


def load_arrays(out: Path) -> dict[str, Arrays]:
    """Return the arrays that `save_arrays` wrote, by arm and name.

    Raises InputError for a damaged file; access to a missing array raises InputError as well.
    """
    by_arm = {}
    for path in sorted((out / FOLDER).glob("*.npz")):
        of_arm = arrays(path)
        by_arm[str(of_arm["arm"])] = of_arm
        del of_arm["arm"]
    return by_arm
