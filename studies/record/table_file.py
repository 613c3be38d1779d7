"""Tables of a record while runs end: rows are added to the end of a file, and all are put in order when the last is there."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from stacked.spec.growth import POLICIES
from stacked.util.atomic import write_atomically, writing
from studies.statistics.rows import typed

Read = Callable[[Path], pd.DataFrame]
#: bytes at the end of what is known of a file by which it is known again
MARK = 256


class Table:
    """A CSV file to which several processes add the rows of runs, one after the other.

    What the file holds is read once by a process, and then what others have added since: adding costs what is added. A line that
    was cut off, where a process was killed while it wrote, is removed before the next is added. Rows of a run that is there
    already are replaced, and columns that are not there yet added, for which the file is written anew.

    read: reads such a file strictly. same: columns that are the same in all rows of a run. by: the column that rows are ordered
    by, before the arm. Whoever calls `add` or `settle` holds a lock on the folder.
    """

    def __init__(self, path: Path, read: Read, same: Sequence[str] = ("run",), by: str = "seed") -> None:
        self.path, self.read, self.same, self.by = path, read, same, by
        self._forget()

    def _forget(self) -> None:
        self.columns: list[str] = []
        self.known: dict[tuple[str, ...], str] = {}
        self.size, self.head, self.mark = 0, b"", b""

    def status(self, row: Mapping[str, Any]) -> str | None:
        """The status of the run of a row; None where the file has no row of it, "" where it has no column of that name."""
        self._look()
        return self.known.get(self._key(row))

    def add(self, rows: list[dict[str, Any]], arms: Sequence[str] = ()) -> None:
        """Add all rows of a run, in place of older ones; Unwritable where the file cannot be written, which is then as before."""
        new = typed(pd.DataFrame(rows))
        if self.status(rows[0]) is not None or not set(new) <= set(self.columns):
            self._rewrite(new, rows[0], arms)
            return
        try:
            file = self._opened()
        except PermissionError:  # a file that may be replaced, and not changed
            self._rewrite(new, rows[0], arms)
            return
        with writing(self.path), file:
            text = new.reindex(columns=self.columns).to_csv(index=False, header=False, lineterminator="\n")
            self._append(file, text.encode())

    def settle(self, arms: Sequence[str] = ()) -> None:
        """Put the rows in order: by seed or trial, and within it in the order of `arms` and then of all policies."""
        if self.path.exists():
            text = _text(_ordered(self.read(self.path), self.by, arms))
            if text != self.path.read_bytes():
                write_atomically(self.path, text)

    def _key(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(str(row[name]) for name in self.same)

    def _look(self) -> None:
        """Learn what is in the file by now."""
        if not os.path.exists(self.path):
            self._forget()
            return
        with self.path.open("rb") as file:
            head = file.read(len(self.head))
            file.seek(self.size - len(self.mark))
            as_before = self.size > 0 and (head, file.read(len(self.mark))) == (self.head, self.mark)
            added = file.read() if as_before else b""
        if as_before:
            whole = added[: added.rfind(b"\n") + 1]
            lines = csv.reader(io.StringIO(whole.decode(), newline=""))
            self._learn((dict(zip(self.columns, line, strict=True)) for line in lines), self.size + len(whole), whole)
            return
        self._forget()
        rows = self.read(self.path)
        content = self.path.read_bytes()
        self._begin(rows, content[: content.rfind(b"\n") + 1])

    def _begin(self, rows: pd.DataFrame, content: bytes) -> None:
        self._forget()
        self.columns, self.head = list(rows), content[: content.find(b"\n") + 1]
        self._learn(rows.to_dict("records"), len(content), content)

    def _learn(self, rows: Any, size: int, added: bytes) -> None:
        self.known |= {self._key(row): str(row.get("status", "")) for row in rows}
        self.size, self.mark = size, (self.mark + added)[-MARK:]

    def _opened(self) -> io.FileIO:
        return open(self.path, "r+b", buffering=0)

    def _append(self, file: io.FileIO, content: bytes) -> None:
        file.truncate(self.size)  # without what a killed process left of a line
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
        if self.columns:
            old = self.read(self.path)
            replaced = (old[list(self.same)].astype(str) == list(self._key(row))).all(axis=1)
            old = old[~replaced]
            new = pd.concat([old, new]) if len(old) else new
        new = _ordered(new, self.by, arms)
        content = _text(new)
        write_atomically(self.path, content)
        self._begin(new, content)


def _ordered(rows: pd.DataFrame, by: str, arms: Sequence[str]) -> pd.DataFrame:
    """The rows by `by` and then by arm, and the columns with the spec, which is the longest, last."""
    places = {arm: place for place, arm in enumerate(dict.fromkeys([*arms, *POLICIES]))}

    def rank(values: pd.Series) -> pd.Series:
        return values.map(lambda arm: places.get(arm, len(places))) if values.name == "arm" else values

    columns = [name for name in rows if name != "spec"] + [name for name in rows if name == "spec"]
    return rows.sort_values([by, "arm"], key=rank, kind="stable")[columns]


def _text(rows: pd.DataFrame) -> bytes:
    return bytes(typed(rows).to_csv(index=False, lineterminator="\n").encode())
