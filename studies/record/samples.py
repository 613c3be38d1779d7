"""Arrays that a study keeps beside its rows, for its figures: by name, a file an arm."""

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


def write_arrays(path: Path, given: Mapping[str, Any]) -> None:
    """Write arrays by name as a compressed .npz file."""
    content = io.BytesIO()
    named: dict[str, Any] = {name: np.asarray(array) for name, array in given.items()}
    np.savez_compressed(content, **named)
    write_atomically(path, content.getvalue())


def keep(out: Path, arm: str, given: Mapping[str, Any]) -> None:
    """Write the arrays of an arm into the folder `out` of a record."""
    write_arrays(out / FOLDER / f"{slug(arm)}.npz", {"arm": np.array(arm), **given})


def kept(out: Path) -> dict[str, Arrays]:
    """What `keep` wrote, by arm; InputError for a damaged file, and for a missing array when it is asked for."""
    found = {}
    for path in sorted((out / FOLDER).glob("*.npz")):
        read = arrays(path)
        found[str(read["arm"])] = read
        del read["arm"]
    return found
