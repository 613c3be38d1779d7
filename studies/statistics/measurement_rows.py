"""The tidy table of a study of measurements, rows.csv, with one row for each method, seed, arm, condition and measure.

Columns: method: a group of measurements made by one function call. seed: integer of at least 0. arm: what is compared.
condition: condition of the measurement ("": there is only one). measure: name of the measured quantity. value: a finite number in
the unit of its measure, or blank if it is not defined. commit: commit of the code, with "+changes" if it had uncommitted changes.
checksum: that of the row (see `checksums`), which tables of before it existed do not have.

All arms that a method measures with a seed have the same conditions and measures.
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
from studies.statistics.checksums import with_checksums
from studies.statistics.reading import FINITE, Columns, check_complete, check_unique, table

FIELDS = ("method", "seed", "arm", "condition", "measure", "value", "commit")
#: the measure that every arm has with each seed, unless a study names another; it is used to detect missing rows
LAST = "seconds"
_COLUMNS = Columns(
    FIELDS,
    number=lambda name: name in ("seed", "value"),
    whole=("seed",),
    nonblank=("method", "seed", "arm", "measure"),
    limits=lambda name: (0, FINITE[1]) if name == "seed" else FINITE,
    exact=True,
    written_together=("method", "seed"),
)


def load(out: Path, last: str = LAST) -> pd.DataFrame:
    """Return the rows of the record in `out` without undefined values; raises as `read`."""
    return read(out / "rows.csv", last=last).dropna(subset="value")


def read(path: Path, methods: Collection[str] | None = None, last: str = LAST) -> pd.DataFrame:
    """Read rows.csv: values are finite floats (NaN: a blank cell, not defined), seeds integers, all other columns text.

    If the last line is incomplete, all rows of its method and seed are dropped with a warning, and are measured again. methods:
    allowed methods (None: any). last: the measure that every arm has. Raises InputError for a file that is missing or malformed,
    an unknown method, a duplicate measurement, or missing rows.
    """
    rows = table(path, _COLUMNS).astype({"seed": int})
    unknown = [] if methods is None else [name for name in dict.fromkeys(rows["method"]) if name not in methods]
    if unknown:
        raise InputError(
            f"{path} has rows of the method {unknown[0]!r}, which is not one of {', '.join(methods or ())}: restore it, or "
            "choose another --out"
        )
    rows = rows.assign(condition=rows["condition"].map(original))
    check_unique(path, rows, ["method", "seed", "arm", "condition", "measure"])
    _check_none_is_missing(path, rows, last)
    return rows


def _check_none_is_missing(path: Path, rows: pd.DataFrame, last: str) -> None:
    """Raise InputError if an arm lacks the measure `last`, or if an arm or a seed of a method lacks rows that another one has.

    Seeds are compared only if their rows have the same commit, because another commit may measure other things.
    """
    for (method, seed, arm), part in rows.groupby(["method", "seed", "arm"], sort=False):
        if last not in set(part["measure"]):
            raise InputError(
                f"{path} lacks the {last} of arm {arm!r} of method {method!r} with seed {seed}: restore it, or remove all rows "
                "of that method and seed, which are then measured again"
            )
    together = "of that method and seed"
    check_complete(path, rows, ["method", "seed"], "arm", ["condition", "measure"], together)
    check_complete(path, rows, ["method", "commit"], "seed", ["arm", "condition", "measure"], together)


def check_arms(path: Path, rows: pd.DataFrame, methods: Collection[str], arms: Collection[str]) -> None:
    """Raise InputError if all `methods` were measured with a seed, but not all `arms`, which they measure together.

    Rows of another arm are of an earlier version, whose arms had other names, and are not checked.
    """
    if not set(rows["arm"]) <= set(arms):
        return
    for seed, part in rows.groupby("seed", sort=False):
        missing = [arm for arm in arms if arm not in set(part["arm"])]
        if missing and set(methods) <= set(part["method"]):
            raise InputError(
                f"{path} lacks all rows of arm {missing[0]!r} with seed {seed}: restore it, or remove all rows of the method "
                "that measures this arm, which are then measured again"
            )


def text(rows: pd.DataFrame) -> str:
    """Return the text of rows.csv, with a checksum in each row; values that are not finite become blank cells."""
    content = io.StringIO()
    lines = csv.writer(content, lineterminator="\n")
    lines.writerow(FIELDS)
    for row in rows[list(FIELDS)].itertuples(index=False):
        cells = [*row[:3], as_text(row.condition), row.measure]
        lines.writerow([*cells, f"{row.value:.8g}" if math.isfinite(row.value) else "", row.commit])
    return with_checksums(content.getvalue())
