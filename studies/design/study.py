"""A study, and a session of it: what `main` of studies.framework asks of every kind of study."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

from stacked.cli.command import called


class Session(ABC):
    """One call of a study's command, its words read; its methods are called in the order in which they stand here.

    out: the folder of the record. is_recording: whether the record is being made, so that an interruption leaves what is done.
    """

    out: Path
    is_recording: bool = False

    def begin(self) -> int | None:
        """Load and check what is needed, before the folder is touched; the exit code where no record was asked for."""
        return None

    @abstractmethod
    def prepare(self) -> None:
        """Note in the folder, which is locked now, what its rows share; InputError where it holds rows of something else."""

    @abstractmethod
    def run(self, stop: Callable[[], bool]) -> Generator[None, None, None]:
        """Measure what is missing, and yield after each row that is written; ends early, or raises Interrupted, when told to."""

    @abstractmethod
    def report(self, command: str) -> bool:
        """Write figures and page from the rows; False where none are made. `command` made them."""

    @abstractmethod
    def block(self, root: Path) -> str:
        """What the index of records, which lies in `root`, says of this one, as Markdown."""

    @abstractmethod
    def end(self) -> int:
        """Print what came of it, when the folder is free again; the exit code: 0, or 1 where something failed."""

    def close(self) -> None:  # noqa: B027
        """Give back what the session held, whatever became of it."""


@dataclass(frozen=True, kw_only=True)
class Study(ABC):
    """A question and what its command does to answer it.

    name: of its records in results/. protocol: how it is answered, as Markdown for its page, values in braces. module: its name
    below `studies`, where that is not `name`. after_interruption: what is told of what an interruption leaves.
    """

    name: str
    title: str
    question: str
    protocol: str
    module: str = ""
    after_interruption: str = "what is done is kept, and the same command goes on from there"

    @property
    def prog(self) -> str:
        """How its command is called."""
        return called(f"studies.{self.module or self.name}")

    @abstractmethod
    def session(self, words: list[str]) -> Session:
        """The session that the words after the command's name ask for; InputError for words that are not allowed."""
