"""The design of a study of measurements: methods that measure arms, measures, figures, and options."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stacked.cli.command import Command
from stacked.cli.store_option import STORE_FOLDER, STORE_HELP, store_folder
from studies.cli.shown_defaults import show_defaults
from studies.design.drawing import Drawing
from studies.design.measurements import Context, Method
from studies.design.study import Study
from studies.statistics.measures import Measure

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, kw_only=True)
class MeasurementDesign(Study):
    """A question, the methods that answer it, and the figures of its page, without the command.

    methods: by name; each yields measurements of one arm or more. arms: in the order of tables; the others are compared with the
    first. measures: shown in tables, the main one first. conditions: what the conditions are, as a column title. drawings:
    figures, drawn from the rows and the folder, the most important first. varies: what a seed changes, as text. files: further
    files of the record, by name, with functions of the rows and the folder that return their text (None: no file). answer:
    function of the rows that returns the answer in a sentence or two. options: function that adds options to the parser. smoke:
    values of options for the smoke run. instead: function that runs another task if the options ask for it, and returns its exit
    code (None: measure). check: function that raises InputError, before anything is measured, if a method cannot run with the
    data or options. reads_any: whether methods read vectors, signals, volumes and floats, and not only images of bytes. extras:
    optional packages by the method that needs them; a method without its package is left out.
    """

    methods: Mapping[str, Method]
    arms: tuple[str, ...]
    measures: Mapping[str, Measure]
    conditions: str
    drawings: Mapping[str, Drawing[[DataFrame, Path]]]
    varies: str = "the initial weights, the data order, the corruption and the sampled images"
    files: Mapping[str, Callable[[DataFrame, Path], str | None]] = field(default_factory=dict)
    answer: Callable[[DataFrame], str] = lambda rows: ""
    options: Callable[[argparse.ArgumentParser], None] = lambda command: None
    smoke: Mapping[str, Any] = field(default_factory=dict)
    instead: Callable[[Context], int | None] = lambda context: None
    check: Callable[[Context, Sequence[str]], None] = lambda context, methods: None
    reads_any: bool = False
    extras: Mapping[str, str] = field(default_factory=dict)

    def parser(self) -> argparse.ArgumentParser:
        """Return the argument parser of the command."""
        command = Command(prog=self.prog, description=self.question)
        what = command.add_argument_group("what is measured")
        what.add_argument(
            "--data",
            default="mnist",
            metavar="NAME",
            help="dataset, such as digits or folder:PATH; 'list' lists all (mnist)",
        )
        what.add_argument("--data-dir", default=None, metavar="DIR", help="folder of datasets that are not bundled")
        what.add_argument("--download", action="store_true", help="download a missing dataset to --data-dir")
        what.add_argument("--limit", type=int, default=None, metavar="N", help="number of training images (all)")
        what.add_argument(
            "--image-size", type=int, default=64, metavar="N", help="side in pixels of images of a folder (64)"
        )
        what.add_argument("--grey", action="store_true", help="read images of a folder as greyscale")
        what.add_argument(
            "--white-level", type=int, default=None, metavar="N", help="value of white in 16-bit files (65535)"
        )
        what.add_argument(
            "--max-megapixels",
            type=float,
            default=None,
            metavar="X",
            help="largest allowed image of a folder, in megapixels (89)",
        )
        what.add_argument(
            "--methods",
            nargs="+",
            default=list(self.methods),
            metavar="NAME",
            help=f"methods to measure ({', '.join(self.methods)})".replace("%", "%%"),
        )
        what.add_argument("--seeds", type=int, default=3, metavar="N", help="number of seeds (3)")
        if self.reads_any:
            what.add_argument(
                "--target", default=None, metavar="COLUMN", help="column of a table (csv:PATH) with the classes"
            )
            what.add_argument(
                "--missing",
                default=None,
                metavar="HOW",
                help="fill in missing values of a table: mean, median or most_frequent (refused)",
            )
        run = command.add_argument_group("how it runs")
        run.add_argument("--device", default="cpu", metavar="NAME", help="cpu, cuda ... (cpu)")
        run.add_argument(
            "--out", type=Path, default=None, metavar="DIR", help="folder of the record (results/STUDY/DATA)"
        )
        run.add_argument("--store", type=store_folder, default=Path(STORE_FOLDER), metavar="DIR", help=STORE_HELP)
        run.add_argument("--smoke", action="store_true", help="test that the study runs: tiny data and one seed")
        command._optionals.title = "options of this study"
        general = {action.dest: action.default for action in command._actions}
        self.options(command)
        changed = {name: command.get_default(name) for name in general}
        show_defaults(command, {name: value for name, value in changed.items() if value != general[name]})
        return command
