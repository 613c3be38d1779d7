"""CSV and Parquet files as pandas tables; a file that cannot be read completely is refused, with its first bad line."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from stacked.data.formats.parquet_size import check_parquet_size
from stacked.util.checks import need
from stacked.util.errors import InputError
from stacked.util.reading import check_regular, opened

if TYPE_CHECKING:
    import pandas as pd

#: bytes of memory that a byte of CSV takes while it is read, about
GROWTH = 10
_INTEGER = re.compile(r"[+-]?\d{1,18}")
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")


def read_csv(path: Path, target: str | None = None, numbers: Collection[str] | None = None) -> pd.DataFrame:
    """Return the table in a CSV file: columns as Int64, float64 or text, rows numbered from 1.

    target: a column in which numbers beside text are classes and no mistake. numbers: the columns of numbers; others are text
    (None: columns that hold nothing but numbers). Raises InputError for a file that is missing, empty
    or not UTF-8, and for rows of other lengths, columns without a name or with the name of another, and columns in which most
    values, but not all, are numbers.
    """
    import pandas as pd

    check_size(path, GROWTH)
    try:
        with opened(path) as file:
            header = checked_header(file, path)
        found = pd.read_csv(path, dtype=str, header=0, names=header, index_col=False, encoding="utf-8-sig")
    except OSError as error:
        raise unreadable(path, error) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a table in UTF-8 ({error.reason}): save it as CSV in UTF-8") from error
    except (pd.errors.ParserError, csv.Error) as error:
        most = csv.field_size_limit()
        need(
            "field larger" not in str(error),
            f"{path} has a cell of more than {most:,} characters: shorten it, leave its column out, or close an open quote",
        )
        raise InputError(f"{path} is not a CSV table ({error}): save it again as CSV") from error
    need(len(found) > 0, f"{path} has a header and no rows: give at least one")
    found.index = pd.RangeIndex(1, len(found) + 1)
    if numbers is None:
        return pd.DataFrame({name: typed(found[name], path, name == target) for name in header})
    return pd.DataFrame(
        {name: typed(found[name], path, False, True) if name in numbers else found[name] for name in header}
    )


def checked_header(file: IO[bytes], path: Path) -> list[str]:
    """Return the column names of a CSV file; InputError for a table without names or with rows of other lengths."""
    with io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        return checked_lines(csv.reader(text, strict=True), path)


def checked_lines(rows: Any, path: Path) -> list[str]:
    """Return the column names in the lines of a csv.reader; errors as of `checked_header`."""
    header: list[str] = next((row for row in rows if row), [])
    need(bool(header), f"{path} is empty: give a CSV table with a first line of column names")
    other = next((mark for mark in (";", "\t") if mark in header[0]), "")
    need(
        len(header) > 1 or not other,
        f"{path} has one column, {header[0][:40]!r}: separate columns by commas, not by "
        f"{'tabs' if other == chr(9) else repr(other)}",
    )
    nameless = header.index("") + 1 if "" in header else 0
    hint = " (pandas writes its index without a name: to_csv(index=False) leaves it out)" if nameless == 1 else ""
    need(not nameless, f"column {nameless} of {path} has no name: give it one{hint}")
    counted = header == [str(k) for k in range(len(header))]
    need(
        counted or not all(map(_NUMBER.fullmatch, header)),
        f"the first line of {path} holds numbers ({', '.join(header)[:40]}), not names of columns: add a first line of names",
    )
    twice = next((name for name, count in Counter(header).items() if count > 1), None)
    need(twice is None, f"{path} has several columns {twice!r}: give each column a name of its own")
    for row in rows:
        need(
            len(row) in (0, len(header)),
            f"line {rows.line_num} of {path} has {len(row)} cell{'s' * (len(row) != 1)}, and its header {len(header)}: give the "
            "same number in all lines",
        )
    return header


def typed(column: pd.Series, path: Path, is_target: bool, is_number: bool = False) -> pd.Series:
    """Return a column of texts as Int64 or float64 if all its values are numbers; InputError if only most of them are.

    is_number: whether it has to be numbers.
    """
    import pandas as pd

    present = column.dropna()
    if len(present) and present.str.fullmatch(_INTEGER).all():
        return column.astype("Int64")
    values = pd.to_numeric(present, errors="coerce")
    if values.notna().all():
        return pd.to_numeric(column).astype("float64")
    wrong = present[values.isna()]
    if is_target and len(wrong) < len(present) / 2 and not present[values.notna()].str.fullmatch(_INTEGER).all():
        is_target = present.nunique() <= max(2, len(present) / 3)  # else decimal numbers beside text, and no classes
    need(
        not is_number and (is_target or len(wrong) > len(present) / 2),
        f"column {column.name!r} of {path} has {len(wrong):,} value{'s' * (len(wrong) != 1)} that "
        f"{'are' if len(wrong) != 1 else 'is'} not a number among {len(present):,}, the first {str(wrong.iloc[0])[:30]!r} in row "
        f"{wrong.index[0]}: correct them, or leave these cells empty",
    )
    return column


def read_parquet(path: Path, target: str | None = None) -> pd.DataFrame:
    """Return the table in a Parquet file; InputError if it is missing or damaged, or takes much more memory than its size."""
    import pandas as pd

    check_size(path, 1)
    try:
        from pyarrow import ArrowException
    except ImportError as error:
        raise InputError(f"{path} needs pyarrow to be read: pip install pyarrow") from error
    try:
        check_parquet_size(path, check_memory)
        found = pd.read_parquet(path, engine="pyarrow")
    except InputError:
        raise
    except (OSError, ValueError, ArrowException) as error:
        raise unreadable(path, error) from error
    need(found.shape[1] > 0, f"{path} has no columns: give at least one")
    need(len(found) > 0, f"{path} has no rows: give at least one")
    return found


def check_size(path: Path, growth: int) -> None:
    """Raise InputError unless a file exists that the free memory can hold `growth` times."""
    try:
        check_regular(path)
        size = path.stat().st_size
    except OSError as error:
        raise unreadable(path, error) from error
    need(not path.is_dir(), f"{path} is a folder: give the path of a table")
    need(size > 0, f"{path} is empty: give a table with columns and rows")
    check_memory(path, growth * size)


def check_memory(path: Path, size: int) -> None:
    """Raise InputError unless the free memory can hold a table of this size twice."""
    import torch

    from stacked.runtime.free_memory import free_bytes

    free = free_bytes(torch.device("cpu"))
    need(
        2 * size <= free,
        f"{path} takes about {2 * size / 2**30:,.1f} GiB of memory to be read, and {free / 2**30:,.1f} are free: give fewer rows",
    )


def unreadable(path: Path, error: Exception) -> InputError:
    """Return the error for a file that cannot be read."""
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
    return InputError(f"{path} cannot be read ({reason}): give the path of a table")
