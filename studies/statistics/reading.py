"""Reads the files of a record as they must be: a table, a JSON object, arrays. Anything else is refused in one sentence."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from stacked.util.arrays import read_arrays
from stacked.util.errors import UNREADABLE, InputError
from stacked.util.serialization import parsed

Array: TypeAlias = npt.NDArray[Any]

RESTORE = "restore it, or choose another --out"
#: whole numbers that a float holds exactly
LARGEST = 2**53
#: bytes of a table at most; it takes some fifty times as many in memory
MOST_BYTES = 2**26


@dataclass(frozen=True)
class Columns:
    """What the columns of a table must be.

    required: names that must be there. number: whether the column of a name holds numbers; others hold text. whole: those of
    numbers that hold whole ones. filled: columns without a blank. finite: whether every number must be finite. exact: whether
    there must be no other columns than those required, in that order. at_once: columns that are the same in rows which are
    written at once: where the last of them is torn, they are all dropped.
    """

    required: Collection[str]
    number: Callable[[str], bool]
    whole: Collection[str] = ()
    filled: Collection[str] = ()
    finite: bool = False
    exact: bool = False
    at_once: Collection[str] = ()


def table(path: Path, columns: Columns) -> pd.DataFrame:
    """Read a CSV table: numbers are floats (NaN: a blank), other columns text. A torn last line is dropped with a warning.

    Our writers end every line with a newline: one without may have lost the end of its last number. Raises InputError when the
    file is missing, empty or malformed, and for a value that its column must not have.
    """
    (header, *records), is_torn = _records(path)
    if columns.exact and header != list(columns.required):
        raise InputError(f"{path} has other columns than {', '.join(columns.required)}: {RESTORE}")
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
    for name in columns.filled:
        if (frame[name].isna() | (frame[name] == "")).any():
            raise InputError(f"{path} has a row without a {name}: every row needs one")
    if is_torn:
        warnings.warn(f"{path}: the last line is torn and was dropped", stacklevel=4)
        if columns.at_once and len(frame):
            of = list(columns.at_once)
            frame = frame[(frame[of] != frame.iloc[-1][of]).any(axis=1)]
    return frame


def json_object(path: Path, remedy: str = RESTORE) -> dict[str, Any]:
    """Read a JSON object; InputError when it is missing or not whole."""
    try:
        found = parsed(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it is no JSON object")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): {remedy}") from error
    return found


def check_once(path: Path, rows: pd.DataFrame, of: list[str]) -> None:
    """Raise InputError where two rows of a table have the same values in all columns `of`: one thing was measured twice."""
    twice = rows[rows.duplicated(of)]
    if not twice.empty:
        raise InputError(f"{path} holds {_told(twice.iloc[0][of])} twice: keep the row of one measurement")


def check_alike(path: Path, rows: pd.DataFrame, groups: list[str], each: str, of: list[str]) -> None:
    """Raise InputError for a missing row: where, of rows with the same values in `groups`, those of one `each` lack values of the
    columns `of` which those of another have."""
    for _, part in rows.groupby(groups, sort=False):
        every = part[of].drop_duplicates()
        for _, mine in part.groupby(each, sort=False):
            if len(mine) < len(every):
                there = set(map(tuple, mine[of].to_numpy()))
                lost = next(values for values in every.itertuples(index=False) if tuple(values) not in there)
                told = _told(mine.iloc[0][[*(g for g in groups if g != "commit"), each]])
                raise InputError(
                    f"{path} lacks the row of {_told(pd.Series(lost._asdict()))} with {told}, which another {each} has: restore "
                    f"it, or remove all rows with that {each}, which is measured again then"
                )


def _told(values: pd.Series) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items() if value != "")


class Arrays(dict[str, Array]):
    """Arrays by name; InputError for a name that the file does not have."""

    def __init__(self, path: Path, arrays: dict[str, Array]) -> None:
        super().__init__(arrays)
        self.path = path

    def __missing__(self, name: str) -> Array:
        raise InputError(f"{self.path} has no array {name!r}: delete it or run the study again")


def arrays(path: Path) -> Arrays:
    """Read the arrays of a .npz file; InputError when it is damaged."""
    try:
        return Arrays(path, read_arrays(path))
    except UNREADABLE as error:
        raise InputError(f"{path} cannot be read ({error}): delete it or run the study again") from error


def _records(path: Path) -> tuple[list[list[str]], bool]:
    """All records, header first, and whether a last line was cut off while written, which is left out."""
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise InputError(f"{path} has {size:,} bytes, more than {MOST_BYTES:,}: is it a study's file?")
        content = path.read_bytes()
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
        raise InputError(f"{path} is empty, or cut off in its first line: restore it, or delete it to begin anew")
    for number, record in enumerate(records[1:], start=2):
        if len(record) != len(records[0]):
            raise InputError(
                f"{path} has {len(record)} fields in record {number}, {len(records[0])} are expected: restore it"
            )
    return records, len(whole) < len(content)


def _column(path: Path, name: str, texts: list[str], columns: Columns) -> pd.Series:
    if not columns.number(name):
        return pd.Series(texts, dtype="object")
    try:
        values = pd.Series([float(text) if text.strip() else np.nan for text in texts], dtype="float64")
    except ValueError as error:
        raise InputError(f"{path} has text where column {name!r} needs a number ({error}): restore it") from error
    if columns.finite:
        wrong = [text for text, value in zip(texts, values, strict=True) if text.strip() and not np.isfinite(value)]
        if wrong:
            raise InputError(f"{path} has {wrong[0]!r} where column {name!r} needs a finite number: restore it")
    if name in columns.whole:
        odd = values[values.notna() & ~((values % 1 == 0) & (values.abs() < LARGEST))]
        if not odd.empty:
            raise InputError(f"{path} has {odd.iloc[0]} where column {name!r} needs a whole number: restore it")
    return values
