"""A session of a study of measurements: methods x seeds, one after the other, each recorded as it comes."""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import time
from abc import abstractmethod
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pandas import DataFrame, concat

from stacked.cli.overwriting import below, check_own
from stacked.runtime.progress import say
from stacked.util.atomic import write_atomically
from stacked.util.checks import need
from stacked.util.errors import Interrupted
from studies.design.measurements import Measurement
from studies.design.study import Session
from studies.record.samples import load_arrays
from studies.statistics.measurement_rows import FIELDS, LAST, read, text
from studies.statistics.reading import json_object

if TYPE_CHECKING:
    from studies.measuring.study import MeasurementStudy

#: Patterns of the files that a study of measurements writes beside its configuration.
FILES = ("README.md", "rows.csv", "figures/*.png", "samples/*.npz", "codec.safetensors")


class MeasurementSession(Session):
    """Measures each of some `methods` with so many `seeds`, but for what is recorded already.

    passing: options that do not tell which rows there are. last: the measure that every arm has with each seed. context: what
    methods are given.
    """

    passing: ClassVar[frozenset[str]]
    last: ClassVar[str] = LAST

    def __init__(
        self, study: MeasurementStudy, given: argparse.Namespace, methods: Sequence[str], seeds: int, out: Path
    ) -> None:
        self.study, self.given, self.methods, self.seeds, self.out = study, given, methods, seeds, out
        self.context: Any = None

    @abstractmethod
    def facts(self) -> dict[str, str]:
        """What all rows of a folder share beside the options of the command."""

    @abstractmethod
    def measured(self, method: str, seed: int) -> list[Measurement]:
        """What a method finds with a seed, and of each of its arms the last measure."""

    def record(self, method: str, seed: int, found: Sequence[Measurement]) -> None:
        """Keep measurements elsewhere than in the folder, before they are rows there."""

    def check_own(self) -> None:
        """Raise InputError where the folder, if no study of measurements wrote it, has files of names that are written."""
        own = (self.out / "configuration.json").exists()
        check_own(own, below(self.out, *FILES, *self.study.files))

    def prepare(self) -> None:
        """Note what all rows of the folder share; InputError where it holds those of something else, or damaged files."""
        self.configure()
        self.warn_of_mixing()
        load_arrays(self.out)  # what is damaged is said before anything is measured

    def configure(self) -> None:
        """Write configuration.json where there is none; InputError where it is another."""
        self.check_own()
        own = {name: value for name, value in vars(self.given).items() if name not in self.passing}
        mine = json.loads(json.dumps(own | self.facts(), default=str))
        path = self.out / "configuration.json"
        if not path.exists():
            write_atomically(path, json.dumps(mine, indent=1) + "\n")
        theirs = json_object(path)
        defaults = vars(self.study.parser().parse_args([]))
        later = {name: value for name, value in defaults.items() if name not in {*self.passing, *theirs}}
        theirs = later | theirs  # what was no option yet had the default
        differ = [name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name)]
        told = ", ".join(f"{name} is {theirs.get(name)!r} there and {mine.get(name)!r} here" for name in differ)
        need(not differ, f"{self.out} holds rows of another configuration ({told}): choose another --out")

    def rows(self) -> DataFrame:
        """What is measured already, perhaps nothing; errors as of `read`."""
        path = self.out / "rows.csv"
        return read(path, self.study.methods, self.last) if path.exists() else DataFrame(columns=list(FIELDS))

    def lacking(self, method: str) -> str:
        """The package that a method needs and that is not installed; "" where there is none."""
        package = self.study.extras.get(method, "")
        return package if package and importlib.util.find_spec(package) is None else ""

    def warn_of_mixing(self) -> None:
        """Say that rows of another commit will stand beside new ones, where something is to be measured."""
        old, mine = self.rows(), this_commit()
        done = set(zip(old["method"], old["seed"], strict=True))
        methods = [method for method in self.methods if not self.lacking(method)]
        wanted = {(method, seed) for seed in range(self.seeds) for method in methods}
        others = sorted(set(old["commit"]) - {mine})
        if others and wanted - done:
            say(
                f"{self.out} holds rows by commit {', '.join(others)}, which stay beside new ones by {mine}: for rows of one "
                "commit, choose another --out"
            )

    def run(self, stop: Callable[[], bool]) -> Generator[None, None, None]:
        """Measure what is missing, method after method and then the next seed; raises Interrupted when `stop` says so."""
        for seed in range(self.seeds):
            for method in self.methods:
                if stop():
                    raise Interrupted("stopped as asked")
                package = self.lacking(method)
                if package:
                    extra = f"pip install '.[{self.study.name}]'"
                    say(f"{method} needs {package}, which is not installed, and is left out ({extra})")
                    continue
                self.measure(method, seed)
                yield

    def measure(self, method: str, seed: int) -> None:
        """Measure a method with a seed, where that is not done, and add its rows, all at once."""
        old = self.rows()
        if ((old["method"] == method) & (old["seed"] == seed)).any():
            return
        began, mine = time.perf_counter(), this_commit()
        found = self.measured(method, seed)
        seconds = time.perf_counter() - began
        # before the row: a run that is made anew supersedes the old one, and one without a row would be missed
        self.record(method, seed, found)
        new = DataFrame([(method, seed, *one, mine) for one in found], columns=FIELDS)
        ranks = {name: rank for rank, name in enumerate(self.study.methods)}
        lines = concat([old, new]) if len(old) else new
        lines = lines.sort_values(
            ["seed", "method"],
            key=lambda values: values.map(ranks) if values.name == "method" else values,
            kind="stable",
        )
        write_atomically(self.out / "rows.csv", text(lines))
        first = next(iter(self.study.measures))
        told = ", ".join(f"{arm} {value:.4g}" for arm, value in means(found, first).items())
        say(f"{method}/s{seed}: {f'{first} of {told}; ' * bool(told)}{seconds:.0f} s")
        undefined = dict.fromkeys(one.measure for one in found if not math.isfinite(one.value))
        if undefined:
            say(f"{method}/s{seed}: {', '.join(undefined)} is not defined everywhere; its cells are left blank")


def this_commit() -> str:
    """The commit that rows are made by, and whether code differs from it."""
    from stacked.runtime.environment import code_identity

    commit, changed = code_identity()
    return commit[:7] + "+changes" * changed


def means(found: Sequence[Measurement], name: str) -> dict[str, float]:
    """The mean over conditions of a measure, by arm, where it is defined in all of them."""
    values: dict[str, list[float]] = {}
    undefined = {one.arm for one in found if one.measure == name and not math.isfinite(one.value)}
    for one in found:
        if one.measure == name and one.arm not in undefined:
            values.setdefault(one.arm, []).append(one.value)
    return {arm: sum(each) / len(each) for arm, each in values.items()}
