"""The trials by which arms were tuned: rows, the best of them, and how the best improved with their number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from studies.report.rows import FINISHED, load_table
from studies.search import Space

FILE = "trials.csv"
_COLUMNS = ("trial", "run", "arm", "seed", "status", "values", "space", "spec")


def load_trials(out: Path) -> pd.DataFrame:
    """Read trials.csv: one row a trial, failed ones included; errors as `load_rows`."""
    return load_table(out / FILE, _COLUMNS)


def judged(rows: pd.DataFrame, arm: str, measure: str, higher: bool) -> pd.Series:
    """What the measure on validation images was in each trial of the arm; the worst possible where one did not finish."""
    mine = rows[rows["arm"] == arm]
    column = f"valid/{measure}"
    values = mine[column] if column in mine else pd.Series(np.nan, index=mine.index)
    good = (mine["status"] == FINISHED) & np.isfinite(values)
    return values.where(good, -math.inf if higher else math.inf)


def best(rows: pd.DataFrame, arm: str, measure: str, higher: bool) -> pd.Series | None:
    """The row of the arm's best trial, the first of equals; None where none finished."""
    values = judged(rows, arm, measure, higher)
    if not np.isfinite(values).any():
        return None
    return rows.loc[values.idxmax() if higher else values.idxmin()]


def expected_best(values: NDArray[np.float64], higher: bool) -> NDArray[np.float64]:
    """The mean best of k trials drawn from these without replacement, for k from 1 to all of them (Dodge et al. 2019).

    Where trials failed, and count as infinitely bad, the mean is infinite for every k that may consist of such alone.
    """
    ordered = np.sort(values)[::-1] if higher else np.sort(values)
    n = len(ordered)
    found = []
    for k in range(1, n + 1):
        # the i-th best is the best of k where the other k - 1 are among those behind it
        weights = np.array([math.comb(n - 1 - i, k - 1) for i in range(n)]) / math.comb(n, k)
        used = weights > 0
        found.append(float((weights[used] * ordered[used]).sum()))
    return np.array(found)


def edges(space: Space, values: Mapping[str, Any]) -> dict[str, str]:
    """The fields whose value lies at an edge of its range, and which edge: "low" or "high"."""
    found = {name: space[name].edge(value) for name, value in values.items() if name in space}
    return {name: side for name, side in found.items() if side}
