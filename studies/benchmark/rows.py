"""The rows of a benchmark: one a question, arm, repeat and measure, with the load of the machine before it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pandas as pd

from stacked.util.checks import need
from studies.statistics.reading import Columns, check_alike, check_once, table

FIELDS = ("question", "arm", "repeat", "measure", "value", "load", "commit")
_COLUMNS = Columns(
    FIELDS,
    number=lambda name: name in ("repeat", "value", "load"),
    whole=("repeat",),
    filled=FIELDS,
    finite=True,
    exact=True,
    at_once=("question", "arm", "repeat"),
)


def load(path: Path) -> pd.DataFrame:
    """Read rows.csv: values are finite floats, repeats integers of at least 0.

    Raises InputError for a file that is missing or malformed, a measurement that is there twice, and rows that are missing.
    """
    rows = table(path, _COLUMNS).astype({"repeat": int})
    need(not (rows["repeat"] < 0).any(), f"{path} has a repeat below 0: restore it")
    check_once(path, rows, ["question", "arm", "repeat", "measure"])
    check_alike(path, rows, ["question", "arm", "commit"], "repeat", ["measure"])
    return rows


def text(rows: pd.DataFrame) -> str:
    """Rows as rows.csv has them."""
    content = io.StringIO()
    lines = csv.writer(content, lineterminator="\n")
    lines.writerow(FIELDS)
    for row in rows[list(FIELDS)].itertuples(index=False):
        lines.writerow(
            (row.question, row.arm, row.repeat, row.measure, f"{row.value:.6g}", f"{row.load:.2f}", row.commit)
        )
    return content.getvalue()
