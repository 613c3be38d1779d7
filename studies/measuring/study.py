"""The study of measurements: a question, the methods that answer it, what they measure, and its figures."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stacked.cli.command import Command
from stacked.util.checks import choice, utf8, whole
from studies.design.drawing import Drawing
from studies.design.measurements import Context, Method
from studies.design.study import Session, Study
from studies.statistics.measures import Measure

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, kw_only=True)
class MeasurementStudy(Study):
    """A question, the methods that answer it, and how the answer is drawn.

    methods: by name; each gives measurements of one arm or more. arms: in the order of tables; the first is that which others
    are compared with. measures: of which tables are made, the main one first. conditions: what they are, for the head of a
    table. drawings: drawn from rows and folder, the most telling first. varies: what differs between seeds. files: further ones
    beside the page, by name: what makes them of rows and folder, None where there is nothing to make. answer: what the rows
    say, in a sentence or two. options: adds those of its own. smoke: values of a smoke run. instead: does something else, where
    the command or the data ask for it, and returns the exit code of that. check: raises InputError, before anything is measured,
    for data or values with which one of the methods that are named cannot be. extras: packages that methods need and this one
    does not; without its package a method is left out.
    """

    methods: Mapping[str, Method]
    arms: tuple[str, ...]
    measures: Mapping[str, Measure]
    conditions: str
    drawings: Mapping[str, Drawing[[DataFrame, Path]]]
    varies: str = "initial weights, data order, corruption, and what of the images is drawn"
    files: Mapping[str, Callable[[DataFrame, Path], str | None]] = field(default_factory=dict)
    answer: Callable[[DataFrame], str] = lambda rows: ""
    options: Callable[[argparse.ArgumentParser], None] = lambda command: None
    smoke: Mapping[str, Any] = field(default_factory=dict)
    instead: Callable[[Context], int | None] = lambda context: None
    check: Callable[[Context, Sequence[str]], None] = lambda context, methods: None
    extras: Mapping[str, str] = field(default_factory=dict)

    def parser(self) -> argparse.ArgumentParser:
        """The command line."""
        command = Command(prog=self.prog, description=self.question)
        command.add_argument(
            "--data",
            default="mnist",
            metavar="NAME",
            help="dataset, as digits or folder:PATH; an unknown name lists all (mnist)",
        )
        command.add_argument("--data-dir", default=None, metavar="DIR", help="where datasets lie that are not bundled")
        command.add_argument("--download", action="store_true", help="fetch a missing dataset into it")
        command.add_argument("--limit", type=int, default=None, metavar="N", help="training images (all)")
        command.add_argument("--image-size", type=int, default=64, metavar="N", help="of a folder's images (64)")
        command.add_argument("--grey", action="store_true", help="read a folder's images as grey levels")
        command.add_argument(
            "--white-level", type=int, default=None, metavar="N", help="value that is white in 16-bit files (65535)"
        )
        command.add_argument(
            "--max-megapixels", type=float, default=None, metavar="X", help="of a folder's largest image (89)"
        )
        command.add_argument(
            "--methods", nargs="+", default=list(self.methods), metavar="NAME", help=", ".join(self.methods)
        )
        command.add_argument("--seeds", type=int, default=3, metavar="N", help="number of seeds (3)")
        command.add_argument("--device", default="cpu", metavar="NAME", help="cpu, cuda ... (cpu)")
        command.add_argument("--out", type=Path, default=None, metavar="DIR", help="of the record (results/STUDY/DATA)")
        command.add_argument("--store", type=Path, default=Path("mlruns"), metavar="DIR", help="of MLflow (mlruns)")
        command.add_argument("--smoke", action="store_true", help="tiny data and one seed: does it run?")
        self.options(command)
        return command

    def session(self, words: list[str]) -> Session:
        """The session that the words ask for; InputError for words that are not allowed."""
        from studies.measuring.data_session import DataSession

        command = self.parser()
        if "--smoke" in words:
            command.set_defaults(**{"data": "digits", "seeds": 1, **self.smoke})
        given = command.parse_args(words)
        whole(given.seeds, "seeds", 1)
        for name in given.methods:
            choice(name, self.methods, "method")
        for name in ("out", "store", "data_dir"):
            utf8(str(getattr(given, name) or ""), name)
        return DataSession(self, given)
