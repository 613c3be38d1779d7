"""Notices points of curves that a record has lost: the row of a run counts them, and older rows are compared by seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from stacked.spec import from_json
from stacked.util.errors import InputError
from stacked.util.serialization import to_json

if TYPE_CHECKING:
    import pandas as pd

#: the column of runs.csv with the number of points of the run's curve, which rows of before it existed do not have
POINTS = "curve_points"
_REMEDY = "restore it, or remove the row of that run in runs.csv, which is then trained again"


def runs_with_curves(done: pd.DataFrame) -> int:
    """Return how many of these finished runs have points, as far as their rows count them."""
    return int((done[POINTS] > 0).sum()) if POINTS in done else 0


def check_points(path: Path, done: pd.DataFrame, counts: Mapping[str, int]) -> None:
    """Raise InputError if a finished run has fewer points, or more, than were recorded.

    path: that of the curves. done: the rows of finished runs. counts: the number of points of each run that has some. A row
    without its number of points must have some points if it made updates, and as many as another seed of its arm whose run
    ends after the same update.
    """
    counted = done[done[POINTS].notna()] if POINTS in done else done.iloc[:0]
    for row in counted.to_dict("records"):
        found, known = counts.get(row["run"], 0), int(row[POINTS])
        if found < known:
            raise InputError(f"{path} lacks {known - found} of the {known} points of {_of(row)}: {_REMEDY}")
        if found > known:
            raise InputError(f"{path} has {found} points of {_of(row)}, and runs.csv counts {known}: {_REMEDY}")
    _check_older(path, done.drop(index=counted.index), counts)


def _check_older(path: Path, done: pd.DataFrame, counts: Mapping[str, int]) -> None:
    """Check the rows that do not count their points."""
    rows = done.to_dict("records")
    if not any(counts.get(row["run"]) for row in rows):
        return
    longest: dict[tuple[str, str], tuple[int, int]] = {}
    for row in rows:
        found = counts.get(row["run"], 0)
        if not found and row.get("updates", 0) > 0:
            raise InputError(f"{path} has no points of {_of(row)}: {_REMEDY}")
        same = str(row.get("commit")), _fixed_course(row["spec"])
        if same[1]:
            longest[same] = max(longest.get(same, (0, 0)), (found, row["seed"]))
    for row in rows:
        found = counts.get(row["run"], 0)
        most, seed = longest.get((str(row.get("commit")), _fixed_course(row["spec"])), (0, 0))
        if found < most:
            raise InputError(
                f"{path} lacks {most - found} of the {most} points of {_of(row)}, as many as seed {seed} has: {_REMEDY}"
            )


def _of(row: Mapping[str, object]) -> str:
    return f"run {row['run']!r} (arm {row['arm']!r}, seed {row['seed']})"


@lru_cache(maxsize=4096)
def _fixed_course(spec: str) -> str:
    """Return the spec (JSON) without its seed if the seed does not decide when a phase ends or what is left out; else ""."""
    read = from_json(spec)
    optimisation = read.optimisation
    ends_early = any(optimisation.patience_of(phase) is not None for phase in read.phases())
    return "" if ends_early or optimisation.on_nonfinite != "stop" else to_json(dataclasses.replace(read, seed=0))
