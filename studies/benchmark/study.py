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
from studies.benchmark.questions import JAX, LOAD, Call, Question, questions
from studies.benchmark.workloads.spent import MEMORY
from studies.design.drawing import Drawing
from studies.design.measurements import Measurement, Method
from studies.design.study import Session
from studies.measuring.session import MeasurementSession
from studies.measuring.study import MeasurementStudy
from studies.record.index import ROOT
from studies.statistics.measurement_rows import load
from studies.statistics.measures import Measure

#: the packages that arms need beside those of the project
PACKAGES = {"ClustPy": "clustpy", JAX: "jax"}
#: default number of repeats; with fewer the median is unreliable
LEAST = 5


@dataclass(frozen=True, kw_only=True)
class Benchmark(MeasurementStudy):
    """A study of measurements whose methods run in their own processes and need no dataset."""

    questions: tuple[Question, ...]

    def parser(self) -> argparse.ArgumentParser:
        """Return the argument parser of the command."""
        command = Command(prog=self.prog, description=self.question)
        command.add_argument(
            "--out", type=Path, default=Path("results/benchmark"), metavar="DIR", help="folder of the record"
        )
        command.add_argument(
            "--repeats", type=int, default=LEAST, metavar="N", help=f"repeats of each measurement ({LEAST})"
        )
        names = ", ".join(one.name for one in self.questions)
        command.add_argument("--only", nargs="+", default=None, metavar="NAME", help=f"questions to measure ({names})")
        return command

    def session(self, argv: list[str]) -> Session:
        """Return the session of the command-line arguments `argv`.

        Raises InputError for arguments that are not allowed, and on systems without /proc.
        """
        given = self.parser().parse_args(argv)
        whole(given.repeats, "repeats", 1)
        for name in given.only or ():
            choice(name, [one.name for one in self.questions], "question")
        need(MEMORY.exists(), f"memory cannot be measured on this system, which has no {MEMORY}: use Linux")
        return BenchmarkSession(self, given)


class BenchmarkSession(MeasurementSession):
    """Measures all arms of the selected questions, repeat by repeat."""

    study: Benchmark
    passing: ClassVar[frozenset[str]] = frozenset({"out", "repeats", "only"})
    last: ClassVar[str] = LOAD

    def __init__(self, study: Benchmark, given: argparse.Namespace) -> None:
        selected = [one for one in study.questions if given.only is None or one.name in given.only]
        methods = [method_name(one.name, arm) for one in selected for arm in one.arms]
        super().__init__(study, given, methods, given.repeats, given.out)

    def begin(self) -> int | None:
        """Check that the folder belongs to the benchmark; there is no data to load."""
        self.check_own()
        return None

    def facts(self) -> dict[str, str]:
        """Return the name of the study, by which its folder is recognised."""
        return {"study": self.study.name}

    def measurements(self, method: str, seed: int) -> list[Measurement]:
        """Return the measurements of a process, and the load average of the machine before it."""
        load_average = os.getloadavg()[0]
        found = list(self.study.methods[method](None, seed))
        return [*found, found[0]._replace(measure=LOAD, value=load_average)]

    def report(self, command: str) -> bool:
        """Write the figures and the page; it shows one command that measures all rows, instead of `command`."""
        measured_questions = set(load(self.out, LOAD)["condition"])
        names = [one.name for one in self.study.questions if one.name in measured_questions]
        all_of_them = len(names) == len(self.study.questions)
        page.report(
            self.study,
            self.study.questions,
            self.out,
            self.study.prog if all_of_them else f"{self.study.prog} --only {' '.join(names)}",
        )
        return True

    def section(self, root: Path) -> str:
        """Return this record's section for results/README.md, as Markdown. root: the folder of that file."""
        return page.section(self.study.questions, self.out, root)

    def end(self) -> int:
        """Print the aims with what was measured, and where the page is."""
        print(page.ending(self.study.questions, self.out))
        return 0


def method_name(question: str, arm: str) -> str:
    """Return the name of the method of an arm of a question."""
    return f"{question}/{arm}"


def method(one: Question, arm: str, call: Call) -> Method:
    """Return the method that measures an arm of a question in its own process."""

    def found(context: None, seed: int) -> Iterator[Measurement]:
        for name, value in measure_in_process(call, {"seed": seed} if one.seeded else {}).items():
            yield Measurement(arm, one.name, name, value)

    return found


def measure_in_process(call: Call, more: dict[str, int]) -> dict[str, float]:
    """Run a measurement in its own process and return its values; raise InputError if it fails."""
    program, arguments = call
    words = [f"{name}={json.dumps(value)}" for name, value in {**arguments, **more}.items()]
    done = subprocess.run(
        [sys.executable, "-m", "studies.benchmark.run_one", program, *words],
        cwd=ROOT,  # a folder `studies` in the current directory would shadow this package
        capture_output=True,
        text=True,
    )
    if done.returncode in (-signal.SIGINT, 128 + signal.SIGINT):  # Ctrl-C interrupts this process as well
        raise Interrupted("stopped as asked")
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"it ended with {done.returncode}"]
        raise InputError(f"the measurement {program} {' '.join(words)} failed: {last[0]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    if program == "grid":
        found["per_second"] = 1 / found["seconds"]
    return found


MEASURES = {
    "cpu_seconds": Measure("CPU time (s)", "lower"),
    "predicted": Measure("predicted time (s)"),
    "seconds": Measure("wall time (s)", "lower"),
    "train_seconds": Measure("training time (s)", "lower"),
    "recording": Measure("fraction of wall time for recording", "lower"),
    "mse": Measure("test MSE per pixel", "lower"),
    "accuracy": Measure("test accuracy", "higher"),
    "growth_mb": Measure("growth of memory (MB)", "lower"),
    "resident_mb": Measure("resident memory (MB)", "lower"),
    "pixels_mb": Measure("images (MB)"),
    "codes_mb": Measure("cached codes (MB)", "lower"),
    "gflops": Measure("GFLOP/s", "higher"),
    "product": Measure("matrix product (GFLOP/s)"),
    "share": Measure("fraction of the rate of a matrix product", "higher"),
    "error": Measure("relative error of the prediction", "lower"),
    "gb_per_second": Measure("memory bandwidth (GB/s)", "higher"),
    "per_second": Measure("studies per second", "higher"),
}


def benchmark(selected: tuple[Question, ...]) -> Benchmark:
    """Return the benchmark with these questions."""
    arms = [(one, arm, call) for one in selected for arm, call in one.arms.items()]
    return Benchmark(
        name="benchmark",
        title="Speed and memory",
        question=(question or "").strip(),
        protocol=(
            "The baselines are a hand-written loop in plain PyTorch (`studies/benchmark/workloads/loops.py`), ClustPy, JAX, "
            "and the peak rates of the machine. Every measurement runs in its own process. Arms are measured alternately, and "
            "ratios are computed within a repeat. Arms with `own recipe` train the same network with settings chosen for this "
            "package, all others with those of the loop."
        ),
        questions=selected,
        methods={method_name(one.name, arm): method(one, arm, call) for one, arm, call in arms},
        arms=tuple(dict.fromkeys(arm for _, arm, _ in arms)),
        measures=MEASURES,
        conditions="question",
        drawings={
            "targets": Drawing(
                "Each measurement divided by its target (lower is better; at 1 the target is reached). Small dots are "
                "repeats, the line is their range, and the large dot is the median.",
                lambda rows, out: targets(rows, selected),
            ),
            "scaling": Drawing(
                "CPU time of an epoch of all stages, and growth of memory in addition to the images, along each axis; "
                "medians with the range of repeats. At the right of each line: the exponent of a power law through its points.",
                lambda rows, out: scaling(rows, selected),
            ),
            "error": Drawing(
                "Test error against CPU time, with a mark for each seed: 10,000 images of MNIST, 5 epochs for each stage and "
                "5 end to end, or our own recipe; one thread.",
                lambda rows, out: errors(rows, selected),
            ),
        },
        extras={method_name(one.name, arm): PACKAGES[arm] for one, arm, _ in arms if arm in PACKAGES},
    )


STUDY = benchmark(questions())
