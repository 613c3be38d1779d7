"""A copy of a record in memory: if its files are removed while a command works in its folder, they are written again."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from stacked.cli.overwriting import below
from stacked.util.atomic import write_atomically
from stacked.util.errors import InputError, Unwritable
from stacked.util.reading import content_of, opened
from studies.statistics.checksums import COLUMN, checksum

#: files that cannot be generated from others, as pages and figures can
PATTERNS = ("*.json", "*.csv", "*.safetensors", "samples/*.npz")
#: the columns, as far as a table has them, that identify a measurement
IDENTITY = ("run", "space", "method", "seed")
#: the columns that are equal in rows of measurements, which are written together
WRITTEN_TOGETHER = ("method", "seed")
#: bytes at the end of a copy that are compared with the file, to see whether the file was only appended to
MARK = 256


class RecordRemoved(RuntimeError):
    """Files of a record were removed while a command worked in its folder; the message says whether the rows were saved."""


class RecordBackup:
    """The contents of the files of a record at the last update.

    out: the folder. sentinel: a file in the folder whose absence shows that the folder was removed.
    """

    def __init__(self, out: Path, sentinel: Path) -> None:
        self.out, self.sentinel = out, sentinel
        self.contents: dict[Path, bytearray] = {}

    def removed(self) -> Path | None:
        """Return the folder if it was removed, or the first known file that was removed or lacks rows that it had."""
        if not self.sentinel.exists():
            return self.out
        return next((path for path, known in self.contents.items() if not _keeps(path, known)), None)

    def update(self) -> None:
        """Read what has changed; of a file that was only appended to, read the addition.

        Raises RecordRemoved, and InputError for a file that cannot be read.
        """
        gone = self.removed()
        if gone:
            raise RecordRemoved(self._told(gone))
        for path in below(self.out, *PATTERNS):
            known = self.contents.setdefault(path, bytearray())
            with _opened(path) as file:
                start = max(0, len(known) - MARK)
                file.seek(start)
                if not known or file.read(len(known) - start) != known[start:]:
                    known.clear()
                    file.seek(0)
                known += file.read()

    def restore(self) -> RecordRemoved:
        """Write the files again and return the error to raise; rows of new CSV files with the same name are merged."""
        gone = self.removed() or self.out
        removed = self._told(gone)
        try:
            for path, content in self.contents.items():
                if not path.exists():
                    write_atomically(path, bytes(content))
                elif path.suffix == ".csv" and not _keeps(path, content):
                    write_atomically(path, merge_tables(bytes(content), content_of(path)))
        except OSError as error:
            return RecordRemoved(f"{removed} and cannot be written again ({error.strerror}): its rows are lost")
        except Unwritable as error:
            return RecordRemoved(f"{removed}, and its rows are lost: {error}")
        return RecordRemoved(f"{removed}: its rows were written again; give the same command again to continue")

    def _told(self, gone: Path) -> str:
        if gone == self.out:
            return f"{self.out} was removed while this command worked in it"
        return f"{gone} was removed, or lost rows, while this command worked in its folder"


def merge_tables(one: bytes, other: bytes) -> str:
    """Return the rows and columns of two CSV files as one; of a measurement in both, the row of `other` is kept."""
    (names, old), (more, new) = _table(one), _table(other)
    has_checksums = COLUMN in names or COLUMN in more
    names = [name for name in dict.fromkeys([*names, *more]) if name != COLUMN]
    columns = [*names, COLUMN] if has_checksums else names
    of = [name for name in IDENTITY if name in names]
    replaced = {tuple(row.get(name) for name in of) for row in new}
    text = io.StringIO()
    table = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    table.writeheader()
    for row in (*(row for row in old if tuple(row.get(name) for name in of) not in replaced), *new):
        # a checksum that the row has is kept: it would tell that the row was changed
        computed = {COLUMN: checksum(names, [row.get(name, "") for name in names])} if has_checksums else {}
        table.writerow(computed | row)
    return text.getvalue()


def _keeps(path: Path, known: bytearray) -> bool:
    """Return whether a file is there and, if it is a table of runs or measurements, still has all that were `known`."""
    try:
        with _opened(path) as file:
            start = max(0, len(known) - MARK)
            file.seek(start)
            if file.read(len(known) - start) == known[start:] or path.suffix != ".csv":
                return True
            file.seek(0)
            content = file.read()
    except FileNotFoundError:
        return False
    (names, old), (more, new) = _table(bytes(known)), _table(content)
    of = [name for name in IDENTITY if name in names and name in more]
    if "seed" not in of:  # a table without seeds is written anew by each command
        return not old or bool(content)
    return set(_values(old, of)) <= set(_values(new, of))


def _opened(path: Path) -> IO[bytes]:
    try:
        return opened(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): move it away, or choose another --out") from error


def _values(rows: list[dict[str, str]], names: list[str]) -> Iterator[tuple[str, ...]]:
    return (tuple(row[name] for name in names) for row in rows)


def _table(content: bytes) -> tuple[list[str], list[dict[str, str]]]:
    """Return the columns and the rows of a CSV file, without what is dropped when it is read: a last line without its end.

    With an incomplete row of a measurement, the other rows of that measurement are dropped as well, and it is repeated.
    """
    whole = content[: content.rfind(b"\n") + 1]
    read = csv.DictReader(io.StringIO(whole.decode(errors="replace"), newline=""))
    try:
        names, rows = list(read.fieldnames or ()), list(read)
    except csv.Error:  # no such table, as whoever reads it says
        return [], []
    if len(whole) < len(content) and rows and set(WRITTEN_TOGETHER) <= set(names):
        last = [rows[-1][name] for name in WRITTEN_TOGETHER]
        rows = [row for row in rows if [row[name] for name in WRITTEN_TOGETHER] != last]
    return names, rows
