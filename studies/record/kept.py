"""What a record holds, in memory: where its folder is removed while a command works in it, its files are written again."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from stacked.cli.overwriting import below
from stacked.util.atomic import write_atomically
from stacked.util.errors import Unwritable

#: what cannot be made again from the rest; pages and figures can
PATTERNS = ("*.json", "*.csv", "*.safetensors", "samples/*.npz")
#: columns, those that a table has, which tell what was measured at once
IDENTITY = ("run", "space", "method", "seed")
#: bytes at the end of what is known of a file by which it is known again
MARK = 256


class Removed(RuntimeError):
    """The folder of a record was removed while a command worked in it; the message says what became of the rows."""


class Kept:
    """The files of a record as they were when last looked at.

    there: a file that is in the folder for as long as nobody removes it.
    """

    def __init__(self, out: Path, there: Path) -> None:
        self.out, self.there = out, there
        self.contents: dict[Path, bytearray] = {}

    def is_gone(self) -> bool:
        """Whether the folder was removed."""
        return not self.there.exists()

    def look(self) -> None:
        """Learn what files hold by now; of what was added to one that alone is read. Removed where the folder is gone."""
        if self.is_gone():
            raise Removed(f"{self.out} was removed while this command worked in it")
        for path in below(self.out, *PATTERNS):
            known = self.contents.setdefault(path, bytearray())
            with path.open("rb") as file:
                start = max(0, len(known) - MARK)
                file.seek(start)
                if not known or file.read(len(known) - start) != known[start:]:
                    known.clear()
                    file.seek(0)
                known += file.read()

    def write_again(self) -> Removed:
        """Write the files again, with what was added to new ones of their names; what is to be said of that."""
        told = f"{self.out} was removed while this command worked in it"
        try:
            for path, content in self.contents.items():
                if not path.exists():
                    write_atomically(path, bytes(content))
                elif path.suffix == ".csv":
                    write_atomically(path, joined(bytes(content), path.read_bytes()))
        except OSError as error:
            return Removed(f"{told}, and cannot be written again ({error.strerror}): its rows are lost")
        except Unwritable as error:
            return Removed(f"{told}, and its rows are lost: {error}")
        return Removed(f"{told}: the rows that there were are written again, and the same command goes on from there")


def joined(one: bytes, other: bytes) -> str:
    """The rows of two CSV files, with the columns of both; of what both have, that of the `other`."""
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
