"""A checksum in every row of a table, by which a changed cell is noticed."""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Sequence
from pathlib import Path

from stacked.util.errors import InputError

#: the column of the checksums, the last one
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
    for line, (cells, record) in enumerate(zip(rows, records[1:], strict=True), start=2):
        given, found = record[place], checksum(header, cells)
        if given != found:
            raise InputError(
                f"{path} was changed in line {line}, whose checksum is {given!r} and should be {found!r}: restore it, or remove "
                "that line, which is then computed again"
            )
    return [header, *rows]
