"""CSV tables of a record: rows are appended when runs end, and sorted after the last one."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from stacked.spec.growth import POLICIES
from stacked.util.atomic import write_atomically, writing
from stacked.util.reading import content_of, opened
from studies.statistics.checksums import COLUMN, with_checksums
from studies.statistics.rows import typed

if TYPE_CHECKING:
    import pandas as pd

Read: TypeAlias = "Callable[[Path], pd.DataFrame]"
#: bytes before the known end of a file that are compared, to see whether the file was only appended to
MARK = 256


class Table:
    """A CSV file to which several processes append the rows of runs.

    A process reads the file once, and afterwards only what others have appended. An incomplete last line, left by a killed
    process, is removed before the next append. If a run has rows already, or if there are new columns, the file is rewritten.
    Every row has a checksum, except in files of before checksums existed, which stay as they are.

    path: the file. read: function that reads and checks such a file. key: columns that identify a run. sort_by: column by which
    rows are sorted, before the arm. Callers of `add` and `sort_rows` must hold a lock on the folder.
    """

    def __init__(self, path: Path, read: Read, key: Sequence[str] = ("run",), sort_by: str = "seed") -> None:
        self.path, self.read, self.key, self.sort_by = path, read, key, sort_by
        self._clear()

    def _clear(self) -> None:
        self.columns: list[str] = []
        self.has_checksums = True
        self.known: dict[tuple[str, ...], str] = {}
        self.size, self.head, self.mark = 0, b"", b""

    def status(self, row: Mapping[str, Any]) -> str | None:
        """Return the status of the run of `row`; None if the file has no row of the run, "" if it has no status column."""
        self._refresh()
        return self.known.get(self._key(row))

    def add(self, rows: list[dict[str, Any]], arms: Sequence[str] = ()) -> None:
        """Write all rows of a run, which replace older ones.

        Raises Unwritable if the file cannot be written; it is then unchanged.
        """
        import pandas as pd

        new = typed(pd.DataFrame(rows, columns=_names_in(rows)))
        if self.status(rows[0]) is not None or not set(new) <= set(self.columns):
            self._rewrite(new, rows[0], arms)
            return
        try:
            file = self._open()
        except PermissionError:  # the file may be replaced but not changed
            self._rewrite(new, rows[0], arms)
            return
        with writing(self.path), file:
            text = new.reindex(columns=self.columns).to_csv(index=False, header=False, lineterminator="\n")
            self._append(file, (with_checksums(text, self.columns) if self.has_checksums else text).encode())

    def sort_rows(self, arms: Sequence[str] = ()) -> None:
        """Sort the rows by `sort_by`, and then by the order of `arms` and of all policies."""
        if self.path.exists():
            self._refresh()
            text = self._text(_ordered(self.read(self.path), self.sort_by, arms))
            if text != content_of(self.path):
                write_atomically(self.path, text)

    def _key(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(str(row[name]) for name in self.key)

    def _refresh(self) -> None:
        """Read what was appended since the last call, or the whole file if it was replaced."""
        if not os.path.exists(self.path):
            self._clear()
            return
        with opened(self.path) as file:
            head = file.read(len(self.head))
            file.seek(self.size - len(self.mark))
            is_unchanged = self.size > 0 and (head, file.read(len(self.mark))) == (self.head, self.mark)
            added = file.read() if is_unchanged else b""
        if is_unchanged:
            whole = added[: added.rfind(b"\n") + 1]
            lines, names = csv.reader(io.StringIO(whole.decode(), newline="")), self._names(self.head)
            self._register((dict(zip(names, line, strict=True)) for line in lines), self.size + len(whole), whole)
            return
        self._clear()
        rows = self.read(self.path)
        content = content_of(self.path)
        self._reset(rows, content[: content.rfind(b"\n") + 1])

    def _reset(self, rows: pd.DataFrame, content: bytes) -> None:
        self._clear()
        self.columns, self.head = list(rows), content[: content.find(b"\n") + 1]
        self.has_checksums = COLUMN in self._names(self.head)
        self._register(rows.to_dict("records"), len(content), content)

    def _register(self, rows: Any, size: int, added: bytes) -> None:
        self.known |= {self._key(row): str(row.get("status", "")) for row in rows}
        self.size, self.mark = size, (self.mark + added)[-MARK:]

    @staticmethod
    def _names(head: bytes) -> list[str]:
        """Return the names of all columns in the first line of a file."""
        return next(csv.reader(io.StringIO(head.decode("utf-8-sig"), newline="")))

    def _open(self) -> io.FileIO:
        return open(self.path, "r+b", buffering=0)

    def _append(self, file: io.FileIO, content: bytes) -> None:
        file.truncate(self.size)  # removes an incomplete line that a killed process left
        file.seek(self.size)
        left = memoryview(content)
        try:
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                file.truncate(self.size)
            raise

    def _rewrite(self, new: pd.DataFrame, row: Mapping[str, Any], arms: Sequence[str]) -> None:
        import pandas as pd

        if self.columns:
            old = self.read(self.path)
            replaced = (old[list(self.key)].astype(str) == list(self._key(row))).all(axis=1)
            old = old[~replaced]
            new = pd.concat([old, new]) if len(old) else new
        new = _ordered(new, self.sort_by, arms)
        content = self._text(new)
        write_atomically(self.path, content)
        self._reset(new, content)

    def _text(self, rows: pd.DataFrame) -> bytes:
        text = typed(rows).to_csv(index=False, lineterminator="\n")
        return (with_checksums(text) if self.has_checksums else text).encode()


def _names_in(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the columns of a run in one order, whichever of its rows lack some of them.

    It is the order of the longest row; a name that this row lacks follows the name before it in its own row.
    """
    names = max(map(list, rows), key=len)
    for row in rows:
        place = 0
        for name in row:
            if name not in names:
                names.insert(place, name)
            place = names.index(name) + 1
    return names


def _ordered(rows: pd.DataFrame, sort_by: str, arms: Sequence[str]) -> pd.DataFrame:
    """Return the rows sorted by `sort_by` and arm, with the column "spec", the longest, last."""
    places = {arm: place for place, arm in enumerate(dict.fromkeys([*arms, *POLICIES]))}

    def rank(values: pd.Series) -> pd.Series:
        return values.map(lambda arm: places.get(arm, len(places))) if values.name == "arm" else values

    columns = [name for name in rows if name != "spec"] + [name for name in rows if name == "spec"]
    return rows.sort_values([sort_by, "arm"], key=rank, kind="stable")[columns]
