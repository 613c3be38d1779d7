"""A checksum in every row of a table and in every JSON object of a record, by which a changed value is noticed."""

from __future__ import annotations

import csv
import io
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stacked.util.errors import InputError

#: the column of the checksums, and the key of an object's checksum: the last one
COLUMN = "checksum"


def checksum(names: Sequence[str], cells: Sequence[str]) -> str:
    """Return the CRC-32 of a row, as 8 hexadecimal digits.

    It depends on the names and the cells, and not on blank cells or the order of columns, because a column that is added later is
    blank in older rows.
    """
    filled = sorted((name, cell) for name, cell in zip(names, cells, strict=True) if cell)
    return f"{zlib.crc32(repr(filled).encode()):08x}"


def with_checksums(text: str, names: Sequence[str] = ()) -> str:
    """Return the text of a CSV table with the column of checksums. names: those of the columns, if the text has no header."""
    lines, output = csv.reader(io.StringIO(text, newline="")), io.StringIO()
    table = csv.writer(output, lineterminator="\n")
    if not names:
        names = next(lines)
        table.writerow([*names, COLUMN])
    table.writerows([*cells, checksum(names, cells)] for cells in lines)
    return output.getvalue()


def without_checksums(path: Path, records: list[list[str]]) -> list[list[str]]:
    """Return the lines of a table, the header first, without the column of checksums; a table need not have it.

    Raises InputError for a row that has another checksum, and if the column of checksums has another name.
    """
    names, first = records[0], records[1] if len(records) > 1 else []
    if COLUMN not in names and first and first[-1] == checksum(names[:-1], first[:-1]):
        raise InputError(f"{path} has the column {names[-1]!r} in the place of {COLUMN!r}: restore it")
    if names.count(COLUMN) != 1:
        return records
    place = names.index(COLUMN)
    header, *rows = ([*cells[:place], *cells[place + 1 :]] for cells in records)
    for row, (cells, record) in enumerate(zip(rows, records[1:], strict=True), start=1):
        given, found = record[place], checksum(header, cells)
        if given != found:
            raise InputError(
                f"{path} was changed in row {row} below its header, whose checksum is {given!r} and should be {found!r}: restore "
                "it, or remove that row, which is then computed again"
            )
    return [header, *rows]


def object_text(values: Mapping[str, Any]) -> str:
    """Return the text of a JSON file that holds an object, with its checksum as the last value."""
    return json.dumps({**values, COLUMN: _object_checksum(values)}, indent=1) + "\n"


def object_without_checksum(path: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object without its checksum, which an object of an older record need not have.

    Raises InputError if the object has another checksum, or if the key of the checksum has another name.
    """
    rest = {name: value for name, value in values.items() if name != COLUMN}
    if COLUMN not in values:
        *names, last = rest or [""]
        if names and rest[last] == _object_checksum({name: rest[name] for name in names}):
            raise InputError(f"{path} has the key {last!r} in the place of {COLUMN!r}: restore it")
        return rest
    given, found = values[COLUMN], _object_checksum(rest)
    if given != found:
        raise InputError(
            f"{path} was changed: its checksum is {given!r} and should be {found!r}. Restore it, or, if you changed it on "
            f"purpose, remove {COLUMN!r}"
        )
    return rest


def _object_checksum(values: Mapping[str, Any]) -> str:
    """Return the CRC-32 of an object, as 8 hexadecimal digits; it does not depend on the order of keys."""
    return f"{zlib.crc32(json.dumps(values, sort_keys=True).encode()):08x}"
