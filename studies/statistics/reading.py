"""Strict readers of the files of a record: CSV tables, JSON objects and arrays; an invalid file raises InputError."""

from __future__ import annotations

import csv
import io
import math
import re
import sys
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy.typing as npt

from stacked.util.arrays import read_arrays
from stacked.util.errors import UNREADABLE, InputError
from stacked.util.reading import content_of, text_of
from stacked.util.serialization import parsed
from studies.statistics.checksums import object_without_checksum, without_checksums

if TYPE_CHECKING:
    import pandas as pd

Array: TypeAlias = npt.NDArray[Any]

RESTORE = "restore it, or choose another --out"
#: integers below this are exact as floats
LARGEST = 2**53
#: the least and the largest finite number
FINITE = (-sys.float_info.max, sys.float_info.max)
#: largest size of a table in bytes; in memory it takes about fifty times as many
MOST_BYTES = 2**26
#: a number as every writer writes it; Python also reads "1_000", " 1 " and digits of other scripts
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?|[+-]?inf|nan", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Columns:
    """The requirements on the columns of a table.

    required: names of columns that must exist. number: function that tells whether a column holds numbers; others hold text.
    whole: columns of integers. nonblank: columns without blank cells. limits: function that gives the least and the largest
    number of a column, which are both allowed. exact: whether the columns must be exactly `required`, in that order.
    written_together: columns that are equal in rows that are written together; if the last line is incomplete, all of these rows
    are dropped.
    """

    required: Collection[str]
    number: Callable[[str], bool]
    whole: Collection[str] = ()
    nonblank: Collection[str] = ()
    limits: Callable[[str], tuple[float, float]] = lambda name: FINITE
    exact: bool = False
    written_together: Collection[str] = ()


def table(path: Path, columns: Columns) -> pd.DataFrame:
    """Read a CSV table: numbers are floats (NaN: a blank cell), other columns text.

    A last line without a newline is incomplete, because every writer ends lines with one; it is dropped with a warning. Raises
    InputError if the file is missing, empty or malformed, and for a row with a wrong checksum or a value that its column does not
    allow. The column of checksums is not returned.
    """
    import pandas as pd  # takes a second of the start of a study, which may need no table

    lines, is_torn = _records(path)
    header, *records = without_checksums(path, lines)
    if columns.exact and header != list(columns.required):
        raise InputError(f"{path} must have exactly the columns {', '.join(columns.required)}: {RESTORE}")
    twice = [name for name in header if header.count(name) > 1]
    if "" in header:
        raise InputError(f"{path} has a column without a name: restore it")
    if twice:
        raise InputError(f"{path} has the column {twice[0]!r} twice: restore it")
    missing = [name for name in columns.required if name not in header]
    if missing:
        raise InputError(f"{path} lacks the column {missing[0]!r}: is it a study's file?")
    values = zip(*records, strict=True) if records else ([] for _ in header)
    named = dict(zip(header, map(list, values), strict=True))
    frame = pd.DataFrame({name: _column(path, name, texts, columns) for name, texts in named.items()})
    for name in columns.nonblank:
        if (frame[name].isna() | (frame[name] == "")).any():
            raise InputError(f"{path} has a row without a {name}: every row needs one")
    if is_torn:
        warnings.warn(f"{path}: the last line is incomplete and was dropped", stacklevel=4)
        if columns.written_together and len(frame):
            of = list(columns.written_together)
            frame = frame[(frame[of] != frame.iloc[-1][of]).any(axis=1)]
    return frame


def json_object(path: Path, remedy: str = RESTORE) -> dict[str, Any]:
    """Read a JSON object, without its checksum.

    Raises InputError, which ends with `remedy`, if the file is missing or invalid, and InputError if its checksum is wrong.
    """
    try:
        found = parsed(text_of(path))
        if not isinstance(found, dict):
            raise ValueError("it is not a JSON object")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): {remedy}") from error
    return object_without_checksum(path, found)


def check_unique(path: Path, rows: pd.DataFrame, of: list[str]) -> None:
    """Raise InputError if two rows of a table have the same values in all columns `of`."""
    twice = rows[rows.duplicated(of)]
    if not twice.empty:
        raise InputError(f"{path} holds {_description(twice.iloc[0][of])} twice: keep the row of one measurement")


def check_complete(path: Path, rows: pd.DataFrame, groups: list[str], each: str, of: list[str], together: str) -> None:
    """Raise InputError if a row is missing.

    Among the rows with equal values in the columns `groups`, every value of the column `each` must have the same set of values
    in the columns `of`. together: says in the message which rows are measured again together.
    """
    import pandas as pd

    for _, part in rows.groupby(groups, sort=False):
        every = part[of].drop_duplicates()
        for _, mine in part.groupby(each, sort=False):
            if len(mine) < len(every):
                present = set(map(tuple, mine[of].to_numpy()))
                missing_row = next(values for values in every.itertuples(index=False) if tuple(values) not in present)
                context = _description(mine.iloc[0][[*(g for g in groups if g != "commit"), each]])
                row = _description(pd.Series(missing_row._asdict()))
                raise InputError(
                    f"{path} lacks the row of {row} with {context}, which another {each} has: restore it, or remove all rows "
                    f"{together}, which are then measured again"
                )


def _description(values: pd.Series) -> str:
    shown = ((name, f"{value:g}" if isinstance(value, float) else value) for name, value in values.items())
    return ", ".join(f"{name} {value}" for name, value in shown if value != "")


class Arrays(dict[str, Array]):
    """Arrays by name; access to a name that the file does not have raises InputError."""

    def __init__(self, path: Path, arrays: dict[str, Array]) -> None:
        super().__init__(arrays)
        self.path = path

    def __missing__(self, name: str) -> Array:
        raise InputError(f"{self.path} has no array {name!r}: delete it or run the study again")


def arrays(path: Path) -> Arrays:
    """Read the arrays of a .npz file; raise InputError if it is damaged."""
    try:
        return Arrays(path, read_arrays(path))
    except UNREADABLE as error:
        raise InputError(f"{path} cannot be read ({error}): delete it or run the study again") from error


def _records(path: Path) -> tuple[list[list[str]], bool]:
    """Return all lines as lists of cells, the header first, and whether an incomplete last line was left out."""
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise InputError(f"{path} has {size:,} bytes, more than {MOST_BYTES:,}: is it a study's file?")
        content = content_of(path)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist: run the study first") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): make it readable") from error
    whole = content[: content.rfind(b"\n") + 1]
    try:
        text = whole.decode("utf-8-sig")
        records = [record for record in csv.reader(io.StringIO(text, newline=""), strict=True) if record]
    except (csv.Error, ValueError) as error:
        raise InputError(f"{path} is not a CSV file ({error}): restore it or run the study again") from error
    if not records:
        raise InputError(f"{path} is empty, or its first line is incomplete: restore it, or delete it to start again")
    for number, record in enumerate(records[1:], start=2):
        if len(record) != len(records[0]):
            raise InputError(
                f"{path} has {len(record)} cells in line {number}, but {len(records[0])} columns: restore it"
            )
    return records, len(whole) < len(content)


def _column(path: Path, name: str, texts: list[str], columns: Columns) -> pd.Series:
    import pandas as pd

    if not columns.number(name):
        return pd.Series(texts, dtype="object")
    limits, is_whole = columns.limits(name), name in columns.whole
    values = []
    for line, text in enumerate(texts, start=2):
        if text and not _NUMBER.fullmatch(text):
            raise InputError(
                f"{path} has text in column {name!r}, which must hold numbers ({text!r} in line {line}): restore it"
            )
        values.append(float(text) if text else math.nan)
        wanted = _wanted(values[-1], limits, is_whole) if text else ""
        if wanted:
            raise InputError(
                f"{path} has {text!r} in column {name!r}, which must hold {wanted} (line {line}): restore it"
            )
    return pd.Series(values, dtype="float64")


def _wanted(value: float, limits: tuple[float, float], is_whole: bool) -> str:
    """Return what a column holds that does not allow this value; "" if it does."""
    least, most = limits
    if not least <= value <= most:
        if not math.isfinite(value):
            return "finite numbers"
        return f"numbers of at least {least:g}" if value < least else f"numbers of at most {most:g}"
    return "integers" if is_whole and (value % 1 != 0 or abs(value) >= LARGEST) else ""
