"""Pictures that a study of a use keeps beside its rows, for its figures: arrays by name, a file an arm."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stacked.util.atomic import write_atomically
from studies.framework.names import slug
from studies.statistics.reading import Arrays, arrays

FOLDER = "samples"


def keep(out: Path, arm: str, given: Mapping[str, Any]) -> None:
    """Write the arrays of an arm into the folder `out` of a record."""
    content = io.BytesIO()
    kept: dict[str, Any] = {name: np.asarray(array) for name, array in given.items()}
    np.savez_compressed(content, arm=np.array(arm), **kept)
    write_atomically(out / FOLDER / f"{slug(arm)}.npz", content.getvalue())


def kept(out: Path) -> dict[str, Arrays]:
    """What `keep` wrote, by arm; InputError for a damaged file, and for a missing array when it is asked for."""
    found = {}
    for path in sorted((out / FOLDER).glob("*.npz")):
        read = arrays(path)
        found[str(read["arm"])] = read
        del read["arm"]
    return found
