"""The benchmark as a study of measurements: a method is an arm of a question, a seed is a repeat, a question is a condition."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from stacked.cli.command import Command
from stacked.util.checks import choice, need, whole
from stacked.util.errors import InputError, Interrupted
from studies.benchmark import __doc__ as question
from studies.benchmark import page
from studies.benchmark.figures import errors, scaling, targets
from studies.benchmark.questions import LOAD, Call, Question, questions
from studies.benchmark.workloads.spent import MEMORY
from studies.design.drawing import Drawing
from studies.design.measurements import Measurement, Method
from studies.design.study import Session
from studies.measuring.session import MeasurementSession
from studies.measuring.study import MeasurementStudy
from studies.record.index import ROOT
from studies.statistics.measurement_rows import load
from studies.statistics.measures import Measure

#: fewer do not give a median that can be relied on
LEAST = 5


@dataclass(frozen=True, kw_only=True)
class Benchmark(MeasurementStudy):
    """A study whose methods are processes of their own, which need no data."""

    questions: tuple[Question, ...]

    def parser(self) -> argparse.ArgumentParser:
        """The command line."""
        command = Command(prog=self.prog, description=self.question)
        command.add_argument(
            "--out", type=Path, default=Path("results/benchmark"), metavar="DIR", help="folder of the record"
        )
        command.add_argument("--repeats", type=int, default=LEAST, metavar="N", help=f"of each measurement ({LEAST})")
        names = ", ".join(one.name for one in self.questions)
        command.add_argument("--only", nargs="+", default=None, metavar="NAME", help=f"of {names}")
        return command

    def session(self, words: list[str]) -> Session:
        """The session that the words ask for; InputError for words that are not allowed, and on systems without /proc."""
        given = self.parser().parse_args(words)
        whole(given.repeats, "repeats", 1)
        for name in given.only or ():
            choice(name, [one.name for one in self.questions], "question")
        need(MEMORY.exists(), f"there is no {MEMORY} on this system, which tells of memory: use Linux")
        return BenchmarkSession(self, given)


class BenchmarkSession(MeasurementSession):
    """Measures arm after arm of the questions that are asked, and then the next repeat."""

    study: Benchmark
    passing: ClassVar[frozenset[str]] = frozenset({"out", "repeats", "only"})
    last: ClassVar[str] = LOAD

    def __init__(self, study: Benchmark, given: argparse.Namespace) -> None:
        asked = [one for one in study.questions if given.only is None or one.name in given.only]
        methods = [method_name(one.name, arm) for one in asked for arm in one.arms]
        super().__init__(study, given, methods, given.repeats, given.out)

    def begin(self) -> int | None:
        """Nothing is loaded: the folder must be the benchmark's own."""
        self.check_own()
        return None

    def facts(self) -> dict[str, str]:
        """The folder is known as the benchmark's by its name alone."""
        return {"study": self.study.name}

    def measured(self, method: str, seed: int) -> list[Measurement]:
        """What a process finds, and the load of the machine before it."""
        busy = os.getloadavg()[0]
        found = list(self.study.methods[method](None, seed))
        return [*found, found[0]._replace(measure=LOAD, value=busy)]

    def report(self, command: str) -> bool:
        """Write figures and page; the command is that which makes the rows, however many were typed until they were there."""
        there = set(load(self.out, LOAD)["condition"])
        names = [one.name for one in self.study.questions if one.name in there]
        all_of_them = len(names) == len(self.study.questions)
        page.report(
            self.study, self.out, self.study.prog if all_of_them else f"{self.study.prog} --only {' '.join(names)}"
        )
        return True

    def block(self, root: Path) -> str:
        """What the index of records, which lies in `root`, says of this one."""
        return page.block(self.study, self.out, root)

    def end(self) -> int:
        """Print the aims with what was measured, and where the page is."""
        print(page.ending(self.study, self.out))
        return 0


def method_name(question: str, arm: str) -> str:
    """The method that an arm of a question is."""
    return f"{question}/{arm}"


def method(one: Question, arm: str, call: Call) -> Method:
    """An arm of a question, which measures itself in a process of its own."""

    def found(context: None, seed: int) -> Iterator[Measurement]:
        for name, value in measured(call, {"seed": seed} if one.seeded else {}).items():
            yield Measurement(arm, one.name, name, value)

    return found


def measured(call: Call, more: dict[str, int]) -> dict[str, float]:
    """What a process of its own finds; InputError where it fails."""
    program, arguments = call
    words = [f"{name}={json.dumps(value)}" for name, value in {**arguments, **more}.items()]
    done = subprocess.run(
        [sys.executable, "-m", "studies.benchmark.run_one", program, *words],
        cwd=ROOT,  # a folder `studies` where this was started would be taken for ours
        capture_output=True,
        text=True,
    )
    if done.returncode in (-signal.SIGINT, 128 + signal.SIGINT):  # Ctrl-C reaches it too
        raise Interrupted("stopped as asked")
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"it ended with {done.returncode}"]
        raise InputError(f"the measurement {program} {' '.join(words)} failed: {last[0]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    if program == "grid":
        found["per_second"] = 1 / found["seconds"]
    return found


MEASURES = {
    "cpu_seconds": Measure("processor time (s)", "lower"),
    "predicted": Measure("foretold (s)"),
    "seconds": Measure("wall time (s)", "lower"),
    "train_seconds": Measure("of it training (s)", "lower"),
    "recording": Measure("share spent on recording", "lower"),
    "mse": Measure("test MSE per pixel", "lower"),
    "growth_mb": Measure("growth of memory (MB)", "lower"),
    "resident_mb": Measure("resident memory (MB)", "lower"),
    "pixels_mb": Measure("of it images (MB)"),
    "codes_mb": Measure("codes kept (MB)", "lower"),
    "gflops": Measure("GFLOP/s", "higher"),
    "product": Measure("matrix product (GFLOP/s)"),
    "share": Measure("share", "higher"),
    "error": Measure("difference, of the time taken", "lower"),
    "gb_per_second": Measure("read and written (GB/s)", "higher"),
    "per_second": Measure("studies per second", "higher"),
}


def benchmark(asked: tuple[Question, ...]) -> Benchmark:
    """The benchmark that asks these questions."""
    arms = [(one, arm, call) for one in asked for arm, call in one.arms.items()]
    return Benchmark(
        name="benchmark",
        title="How fast is it?",
        question=(question or "").strip(),
        protocol=(
            "Against a loop written by hand in plain PyTorch (`studies/benchmark/workloads/loops.py`), against ClustPy, and "
            "against what the machine can do. Every measurement is a process of its own; arms alternate; a ratio is taken "
            "within a repeat."
        ),
        questions=asked,
        methods={method_name(one.name, arm): method(one, arm, call) for one, arm, call in arms},
        arms=tuple(dict.fromkeys(arm for _, arm, _ in arms)),
        measures=MEASURES,
        conditions="question",
        drawings={
            "targets": Drawing(
                "How each measurement relates to what was aimed at: 1 is the aim, left of it is better. A dot is a repeat, the "
                "line their range, the large dot the median.",
                lambda rows, out: targets(rows, asked),
            ),
            "scaling": Drawing(
                "Processor time of an epoch of all stages, and growth of memory beyond the images, against what grows; medians "
                "with the range of repeats. At the right of each line the exponent of a power law through its points.",
                lambda rows, out: scaling(rows, asked),
            ),
            "error": Drawing(
                "Error against cost, a dot a seed: 10,000 digits, 5 epochs a stage and 5 end to end, or a recipe of our own; one "
                "thread.",
                lambda rows, out: errors(rows, asked),
            ),
        },
        extras={method_name(one.name, arm): "clustpy" for one, arm, _ in arms if arm == "ClustPy"},
    )


STUDY = benchmark(questions())
