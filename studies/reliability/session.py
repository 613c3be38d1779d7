"""Studies of reliability: one table that grows while something is tried again and again, and a page that says what came of it."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from stacked.cli.command import Command
from stacked.cli.overwriting import begins, below, check_own
from stacked.util.atomic import write_atomically
from studies.design.study import Session, Study
from studies.report.origin import origin
from studies.report.terminal import plain
from studies.report.verbatim import code


class ReliabilitySession(Session):
    """Works in a temporary folder, where the record is made as well if no --out is given: then its page is printed alone.

    table: the file of its rows. head: how that begins, by which a folder is known as one of this study's.
    """

    table: ClassVar[str]
    head: ClassVar[str]

    def __init__(self, study: ReliabilityStudy, given: argparse.Namespace) -> None:
        self.study, self.given, self.failed = study, given, False
        self.temporary = tempfile.TemporaryDirectory(prefix=f"{study.name}-")
        self.folder = Path(self.temporary.name)
        self.out = given.out or self.folder / "record"

    def begin(self) -> int | None:
        """Check that the folder has no files of these names which are another's."""
        own = begins(self.out / self.table, self.head)
        check_own(own, below(self.out, self.table, "README.md", "figures/*"))
        self.began, self.made_with = time.monotonic(), origin()  # before what is written counts as a change of the code
        return None

    def prepare(self) -> None:
        """Nothing: the table says by its columns whose it is."""

    @abstractmethod
    def findings(self) -> list[str]:
        """Write figures; returns the parts of the page, the answer first. Notes whether something `failed`."""

    def report(self, command: str) -> bool:
        """Write figures and page."""
        findings = self.findings()
        minutes = f"{(time.monotonic() - self.began) / 60:.0f} minutes"
        made = f"Command: {code(command)}, {minutes}. {self.made_with} Generated from {self.table}."
        self.answer, self.found = findings[0], plain("\n\n".join(findings))
        self.page = (
            "\n\n".join([f"# {self.study.title}", self.study.question, self.study.protocol, *findings, made]) + "\n"
        )
        write_atomically(self.out / "README.md", self.page)
        return True

    def block(self, root: Path) -> str:
        """The answer, and where the page is."""
        link = Path(os.path.relpath(self.out.resolve(), root.resolve())).as_posix()
        return f"> {self.answer}\n\nTables, figures and the command: [{link}]({link}/README.md)."

    def end(self) -> int:
        """Print what was found and where the page is, without --out the page itself; 1 where something failed."""
        if self.given.out is None:
            print(self.page)
        else:
            print(f"\n{self.found}\n\nAll tables and the command: {self.out / 'README.md'}")
        return 1 if self.failed else 0

    def close(self) -> None:
        """Remove the temporary folder."""
        self.temporary.cleanup()


@dataclass(frozen=True, kw_only=True)
class ReliabilityStudy(Study):
    """A question that is answered by trying.

    options: adds those of its own. check: raises InputError for values of theirs that are not allowed. opened: its session.
    """

    options: Callable[[argparse.ArgumentParser], None]
    check: Callable[[argparse.Namespace], None]
    opened: Callable[[ReliabilityStudy, argparse.Namespace], Session]

    def session(self, words: list[str]) -> Session:
        """The session that the words ask for; InputError for words that are not allowed."""
        command = Command(prog=self.prog, description=self.question)
        self.options(command)
        command.add_argument(
            "--out", type=Path, default=None, metavar="DIR", help="folder for the record (print its page only)"
        )
        given = command.parse_args(words)
        self.check(given)
        return self.opened(self, given)
