"""The base classes of studies of reliability, which repeat a test, write a row for each repetition and generate a page."""

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
    """A session that works in a temporary folder; without --out the record is made there, and only its page is printed.

    table: file name of the rows. head: the beginning of that file, by which the folder of a record is recognised.
    """

    table: ClassVar[str]
    head: ClassVar[str]

    def __init__(self, study: ReliabilityStudy, given: argparse.Namespace) -> None:
        self.study, self.given, self.failed = study, given, False
        self.temporary = tempfile.TemporaryDirectory(prefix=f"{study.name}-")
        self.folder = Path(self.temporary.name)
        self.out = given.out or self.folder / "record"

    def begin(self) -> int | None:
        """Check that the folder has no files that would be overwritten, unless this study wrote them."""
        own = begins(self.out / self.table, self.head)
        check_own(own, below(self.out, self.table, "README.md", "figures/*"))
        self.started = time.monotonic()
        self.made_with = origin()  # read now, because files written later would count as changes of the code
        return None

    def prepare(self) -> None:
        """Do nothing: the columns of the table identify the study."""

    @abstractmethod
    def findings(self) -> list[str]:
        """Write the figures; return the parts of the page, the answer first; set `failed` if a test failed."""

    def report(self, command: str) -> bool:
        """Write the figures and the page."""
        findings = self.findings()
        minutes = f"{(time.monotonic() - self.started) / 60:.0f} minutes"
        made = f"Command: {code(command)}, {minutes}. {self.made_with} Generated from {self.table}."
        self.answer, self.found = findings[0], plain("\n\n".join(findings))
        self.page = (
            "\n\n".join([f"# {self.study.title}", self.study.question, self.study.protocol, *findings, made]) + "\n"
        )
        write_atomically(self.out / "README.md", self.page)
        return True

    def section(self, root: Path) -> str:
        """Return the answer and a link to the page, as Markdown."""
        link = Path(os.path.relpath(self.out.resolve(), root.resolve())).as_posix()
        return f"> {self.answer}\n\nTables, figures and the command are on the page [{link}]({link}/README.md)."

    def end(self) -> int:
        """Print the findings and the path of the page, or without --out the page itself; return 1 if a test failed, else 0."""
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
    """A study that answers a question by repeated tests.

    options: function that adds options to the parser. check: function that raises InputError for invalid values of these options.
    make_session: class of its session.
    """

    options: Callable[[argparse.ArgumentParser], None]
    check: Callable[[argparse.Namespace], None]
    make_session: Callable[[ReliabilityStudy, argparse.Namespace], Session]

    def session(self, argv: list[str]) -> Session:
        """Return the session of the command-line arguments `argv`; raise InputError for a value that is not allowed."""
        command = Command(prog=self.prog, description=self.question)
        self.options(command)
        command.add_argument(
            "--out", type=Path, default=None, metavar="DIR", help="folder of the record (default: only print the page)"
        )
        given = command.parse_args(argv)
        self.check(given)
        return self.make_session(self, given)
