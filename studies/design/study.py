"""The interface of a study and of its session, which `main` of studies.framework calls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

from stacked.cli.command import called


class Session(ABC):
    """One call of the command of a study with parsed arguments; the methods are called in the order of their definition.

    out: the folder of the record. is_recording: True once results may have been written, which an interruption leaves.
    """

    out: Path
    is_recording: bool = False

    def begin(self) -> int | None:
        """Load and check everything before the folder is changed. Return None to go on, or the code to exit with."""
        return None

    @abstractmethod
    def prepare(self) -> None:
        """Write into the locked folder what its rows share; raise InputError if it holds rows of another configuration."""

    @abstractmethod
    def run(self, stop: Callable[[], bool]) -> Generator[None, None, None]:
        """Measure what is missing, and yield after each row.

        Once `stop` returns True, it ends early: it returns or raises Interrupted, which the caller handles alike.
        """

    @abstractmethod
    def report(self, command: str) -> bool:
        """Write the figures and the page, which shows `command`, from the rows; return False if there is no page."""

    @abstractmethod
    def section(self, root: Path) -> str:
        """Return this record's section for results/README.md, as Markdown. root: the folder of that file."""

    @abstractmethod
    def end(self) -> int:
        """Print a summary after the folder is unlocked; return the exit code: 0, or 1 if something failed."""

    def close(self) -> None:  # noqa: B027
        """Release the resources of the session; called after errors as well."""


@dataclass(frozen=True, kw_only=True)
class Study(ABC):
    """A question, and the command that answers it.

    name: folder of its records in results/. title, question: as on its page. protocol: methods section of its page, as Markdown
    with fields in braces. module: name of its module in `studies` ("": `name`). after_interruption: sentence, printed after an
    interruption, that says what is saved.
    """

    name: str
    title: str
    question: str
    protocol: str
    module: str = ""
    after_interruption: str = "finished results are saved; the same command continues from there"

    @property
    def prog(self) -> str:
        """How the command is called, as "python -m studies.layerwise"."""
        return called(f"studies.{self.module or self.name}")

    @abstractmethod
    def session(self, argv: list[str]) -> Session:
        """Return the session of the command-line arguments `argv`; raise InputError for arguments that are not allowed."""
