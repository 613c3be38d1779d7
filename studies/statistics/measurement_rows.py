"""The one tidy table of measurements, rows.csv: a row a method, seed, arm, condition and measure.

method: what was measured at once. seed: a whole number of at least 0, which repeats the measurement. arm: what is compared.
condition: under which it was measured ("": there is one only). measure: what was measured. value: a finite number, in the unit
of its measure, or blank where it is not defined. commit: of the code that measured, with "+changes" where it differed.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from stacked.util.csv_cells import as_text, original
from stacked.util.errors import InputError
from studies.statistics.reading import Columns, check_alike, check_once, table

FIELDS = ("method", "seed", "arm", "condition", "measure", "value", "commit")
#: the measure that every arm has, with each seed, unless a study says another: without it rows are missing
LAST = "seconds"
_COLUMNS = Columns(
    FIELDS,
    number=lambda name: name in ("seed", "value"),
    whole=("seed",),
    filled=("method", "seed", "arm", "measure"),
    finite=True,
    exact=True,
    at_once=("method", "seed"),
)


def load(out: Path, last: str = LAST) -> pd.DataFrame:
    """The rows in a folder, but for values that were not defined; conditions are texts. Errors as of `read`."""
    return read(out / "rows.csv", last=last).dropna(subset="value")


def read(path: Path, methods: Collection[str] | None = None, last: str = LAST) -> pd.DataFrame:
    """Read rows.csv: values are finite floats (NaN: not defined, a blank), seeds integers of at least 0, all else text.

    Where the last line is torn, all rows of its method and seed are dropped: it is to be measured again. methods: those that
    there are (None: any). last: the measure that every arm has. Raises InputError for a file that is missing or malformed, an
    unknown method, a measurement that is there twice, and rows that are missing.
    """
    rows = table(path, _COLUMNS)
    negative = rows["seed"][rows["seed"] < 0]
    if not negative.empty:
        raise InputError(f"{path} has the seed {negative.iloc[0]:.0f}, and the least is 0: restore it")
    rows = rows.astype({"seed": int})
    unknown = [] if methods is None else [name for name in dict.fromkeys(rows["method"]) if name not in methods]
    if unknown:
        raise InputError(
            f"{path} has rows of a method {unknown[0]!r}, which is none of {', '.join(methods or ())}: restore it, or choose "
            "another --out"
        )
    rows = rows.assign(condition=rows["condition"].map(original))
    check_once(path, rows, ["method", "seed", "arm", "condition", "measure"])
    _check_none_is_missing(path, rows, last)
    return rows


def _check_none_is_missing(path: Path, rows: pd.DataFrame, last: str) -> None:
    """Raise InputError where an arm lacks its last row, or a method was measured otherwise with one seed than with another.

    The same code measures the same with every seed, so that rows are compared with those of their own commit.
    """
    for (method, seed, arm), part in rows.groupby(["method", "seed", "arm"], sort=False):
        if last not in set(part["measure"]):
            raise InputError(
                f"{path} lacks the {last} of arm {arm!r} of method {method!r} with seed {seed}: restore it, or remove all rows "
                "of that method and seed, which is measured again then"
            )
    check_alike(path, rows, ["method", "commit"], "seed", ["arm", "condition", "measure"])


def text(rows: pd.DataFrame) -> str:
    """Rows as rows.csv has them; the cell of a value that is not finite is blank."""
    content = io.StringIO()
    lines = csv.writer(content, lineterminator="\n")
    lines.writerow(FIELDS)
    for row in rows[list(FIELDS)].itertuples(index=False):
        cells = [*row[:3], as_text(row.condition), row.measure]
        lines.writerow([*cells, f"{row.value:.8g}" if math.isfinite(row.value) else "", row.commit])
    return content.getvalue()
