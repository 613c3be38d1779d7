"""A copy of a record in memory: if its folder is removed while a command works in it, the files are written again."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from stacked.cli.overwriting import below
from stacked.util.atomic import write_atomically
from stacked.util.errors import Unwritable

#: files that cannot be generated from others, as pages and figures can
PATTERNS = ("*.json", "*.csv", "*.safetensors", "samples/*.npz")
#: the columns, as far as a table has them, that identify a measurement
IDENTITY = ("run", "space", "method", "seed")
#: bytes at the end of a copy that are compared with the file, to see whether the file was only appended to
MARK = 256


class RecordRemoved(RuntimeError):
    """The folder of a record was removed while a command worked in it; the message says whether its rows were saved."""


class RecordBackup:
    """The contents of the files of a record at the last update.

    out: the folder. sentinel: a file in the folder whose absence shows that the folder was removed.
    """

    def __init__(self, out: Path, sentinel: Path) -> None:
        self.out, self.sentinel = out, sentinel
        self.contents: dict[Path, bytearray] = {}

    def is_gone(self) -> bool:
        """Return whether the folder was removed."""
        return not self.sentinel.exists()

    def update(self) -> None:
        """Read what has changed; of a file that was only appended to, read the addition. Raises RecordRemoved."""
        if self.is_gone():
            raise RecordRemoved(f"{self.out} was removed while this command worked in it")
        for path in below(self.out, *PATTERNS):
            known = self.contents.setdefault(path, bytearray())
            with path.open("rb") as file:
                start = max(0, len(known) - MARK)
                file.seek(start)
                if not known or file.read(len(known) - start) != known[start:]:
                    known.clear()
                    file.seek(0)
                known += file.read()

    def restore(self) -> RecordRemoved:
        """Write the files again and return the error to raise; rows of new CSV files with the same name are merged."""
        removed = f"{self.out} was removed while this command worked in it"
        try:
            for path, content in self.contents.items():
                if not path.exists():
                    write_atomically(path, bytes(content))
                elif path.suffix == ".csv":
                    write_atomically(path, merge_tables(bytes(content), path.read_bytes()))
        except OSError as error:
            return RecordRemoved(f"{removed} and cannot be written again ({error.strerror}): its rows are lost")
        except Unwritable as error:
            return RecordRemoved(f"{removed}, and its rows are lost: {error}")
        return RecordRemoved(f"{removed}: its rows were written again; give the same command again to continue")


def merge_tables(one: bytes, other: bytes) -> str:
    """Return the rows and columns of two CSV files as one; of a measurement in both, the row of `other` is kept."""
    tables = [csv.DictReader(io.StringIO(content.decode(), newline="")) for content in (one, other)]
    names = list(dict.fromkeys(name for table in tables for name in table.fieldnames or ()))
    of = [name for name in IDENTITY if name in names]
    old, new = map(list, tables)
    replaced = {tuple(row.get(name) for name in of) for row in new}
    text = io.StringIO()
    table = csv.DictWriter(text, names, restval="", lineterminator="\n")
    table.writeheader()
    table.writerows([*(row for row in old if tuple(row.get(name) for name in of) not in replaced), *new])
    return text.getvalue()
