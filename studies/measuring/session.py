"""A session of a study of measurements: runs each method with each seed and records the values after each."""

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
from stacked.runtime.time_left import RunProgress
from stacked.util.atomic import write_atomically
from stacked.util.checks import need
from stacked.util.errors import Interrupted
from studies.design.measurements import Measurement
from studies.design.study import Session
from studies.record.samples import load_arrays
from studies.statistics.checksums import object_text
from studies.statistics.measurement_rows import FIELDS, LAST, check_arms, read, text
from studies.statistics.reading import json_object

if TYPE_CHECKING:
    from studies.measuring.design import MeasurementDesign

#: Patterns of the files that a study of measurements writes, besides configuration.json.
FILES = ("README.md", "rows.csv", "figures/*.png", "samples/*.npz", "codec.safetensors")


class MeasurementSession(Session):
    """Measures each of `methods` with each of `seeds` seeds, unless it is recorded already.

    passing: options that do not affect the rows, and may differ between calls. last: the measure that every arm has with each
    seed. context: the first argument of methods.
    """

    passing: ClassVar[frozenset[str]]
    last: ClassVar[str] = LAST

    def __init__(
        self, study: MeasurementDesign, given: argparse.Namespace, methods: Sequence[str], seeds: int, out: Path
    ) -> None:
        self.study, self.given, self.methods, self.seeds, self.out = study, given, methods, seeds, out
        self.context: Any = None

    @abstractmethod
    def facts(self) -> dict[str, str]:
        """Return what all rows of a folder share in addition to the options of the command."""

    @abstractmethod
    def measurements(self, method: str, seed: int) -> list[Measurement]:
        """Return the measurements of a method with a seed, which include the measure `last` for each arm."""

    def record(self, method: str, seed: int, found: Sequence[Measurement]) -> None:
        """Record measurements elsewhere, before they are written to rows.csv; does nothing by default."""

    def check_own(self) -> None:
        """Raise InputError if no study wrote the folder and it has files that would be overwritten."""
        own = (self.out / "configuration.json").exists()
        check_own(own, below(self.out, *FILES, *self.study.files))

    def prepare(self) -> None:
        """Write configuration.json; raise InputError if the folder holds another configuration or damaged files."""
        self.configure()
        self.warn_of_mixing()
        load_arrays(self.out)  # damaged files are reported before anything is measured

    def configure(self) -> None:
        """Write configuration.json if it does not exist; raise InputError if it holds another configuration."""
        self.check_own()
        options = {name: value for name, value in vars(self.given).items() if name not in self.passing}
        mine = json.loads(json.dumps(options | self.facts(), default=str))
        path = self.out / "configuration.json"
        if not path.exists():
            write_atomically(path, object_text(mine))
        theirs = json_object(path)
        defaults = vars(self.study.parser().parse_args([]))
        added = {name: value for name, value in defaults.items() if name not in {*self.passing, *theirs}}
        theirs = added | theirs  # options that were added after the record was made had their defaults
        differ = [name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name)]
        details = ", ".join(f"{name} is {theirs.get(name)!r} there and {mine.get(name)!r} here" for name in differ)
        need(not differ, f"{self.out} holds rows of another configuration ({details}): choose another --out")

    def rows(self) -> DataFrame:
        """Return the rows so far, which may be empty; raises as `read`."""
        path = self.out / "rows.csv"
        if not path.exists():
            return DataFrame(columns=list(FIELDS))
        rows = read(path, self.study.methods, self.last)
        check_arms(path, rows, self.study.methods, self.study.arms)
        return rows

    def lacking(self, method: str) -> str:
        """Return the name of a package that a method needs and that is not installed; "" if nothing is missing."""
        package = self.study.extras.get(method, "")
        return package if package and importlib.util.find_spec(package) is None else ""

    def warn_of_mixing(self) -> None:
        """Warn if new rows will be added to rows of another commit."""
        old, mine = self.rows(), this_commit()
        done = set(zip(old["method"], old["seed"], strict=True))
        methods = [method for method in self.methods if not self.lacking(method)]
        wanted = {(method, seed) for seed in range(self.seeds) for method in methods}
        others = sorted(set(old["commit"]) - {mine})
        if others and wanted - done:
            say(
                f"{self.out} holds rows of commit {', '.join(others)}; rows of commit {mine} will be added to them: for rows of "
                "one commit, choose another --out"
            )

    def run(self, stop: Callable[[], bool]) -> Generator[None, None, None]:
        """Measure what is missing, seed by seed and method by method; raise Interrupted if `stop` returns True."""
        old = self.rows()
        done = set(zip(old["method"], old["seed"], strict=True))
        every = [(method, seed) for seed in range(self.seeds) for method in self.methods]
        todo = [each for each in every if each not in done and not self.lacking(each[0])]
        with RunProgress([method for method, _ in todo], alike=False) as runs:
            for method, seed in every:
                if stop():
                    raise Interrupted("stopped as asked")
                package = self.lacking(method)
                if package:
                    extra = f"pip install '.[{self.study.name}]'"
                    say(f"{method} is left out, because it needs {package}, which is not installed: {extra}")
                    continue
                if (method, seed) in todo:
                    number = runs.begin(f"{method}, seed {seed}", method)
                    self.measure(method, seed)
                    runs.end(number)
                yield

    def measure(self, method: str, seed: int) -> None:
        """Measure a method with a seed, and write all its rows together."""
        old = self.rows()
        started, mine = time.perf_counter(), this_commit()
        found = self.measurements(method, seed)
        seconds = time.perf_counter() - started
        # before the row is written: if this fails, the method has no row, is measured again and replaces the MLflow run
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
        values = ", ".join(f"{arm} {value:.4g}" for arm, value in means(found, first).items())
        say(f"{method}/s{seed}: {f'{first} of {values}; ' * bool(values)}{seconds:.0f} s")
        undefined = dict.fromkeys(one.measure for one in found if not math.isfinite(one.value))
        if undefined:
            say(f"{method}/s{seed}: some values of {', '.join(undefined)} are not defined; their cells are blank")


def this_commit() -> str:
    """Return the commit of the code, with "+changes" if there are uncommitted changes."""
    from stacked.runtime.environment import code_identity

    commit, changed = code_identity()
    return commit[:7] + "+changes" * changed


def means(found: Sequence[Measurement], name: str) -> dict[str, float]:
    """Return the mean of a measure over conditions for each arm for which it is defined under all conditions."""
    values: dict[str, list[float]] = {}
    undefined = {one.arm for one in found if one.measure == name and not math.isfinite(one.value)}
    for one in found:
        if one.measure == name and one.arm not in undefined:
            values.setdefault(one.arm, []).append(one.value)
    return {arm: sum(each) / len(each) for arm, each in values.items()}
