"""Does a process that trains one run after the other stay as large as it was?

Command: python -m studies.endurance --phases 2000 --out results/endurance
Expected and cost: results/endurance/README.md, generated from samples.csv.
"""

from __future__ import annotations

import argparse
import csv
import gc
import io
import os
import time
from collections.abc import Callable, Generator
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

from stacked.runs.run import load
from stacked.runtime.progress import say
from stacked.util.atomic import write_atomically
from stacked.util.checks import need, whole
from studies.cli.command_line import parser
from studies.cli.options import options
from studies.figures.style import arm_colours
from studies.framework.workers import Job, run_jobs
from studies.record.names import experiment_name
from studies.reliability.endurance_report import findings
from studies.reliability.session import ReliabilitySession, ReliabilityStudy

ARM = "greedy+unfreeze"
#: Five stages of two kinds on digits: ten phases a run, two updates each, and every part of a run's record.
WORDS = (
    *("--data", "digits", "--limit", "200", "--batch-size", "32", "--level", "0.1", "--jobs", "1", "--arms", ARM),
    *(
        "--stack",
        "{stages: [{kind: conv, width: 4}, {kind: conv, width: 4}, {kind: dense, width: 12}, "
        "{kind: dense, width: 8}, {kind: dense, width: 4}]}",
    ),
    *("--unit", "updates", "--epochs", "2", "--finetune", "10", "--labels", "50"),
    *("--evaluation", "{images: 64, probe_images: 64, probe_labels: 64}"),
    *("--classification", "{updates: 4, checks: 1, lrs: [0.001], images: 64}"),
)
PROC = Path("/proc/self")
#: Phases that give a line with an interval: three runs in the second half.
LEAST = 60


@dataclass(frozen=True)
class Sample:
    """This process after so many runs. memory: resident, in MB. seconds, cpu_seconds: of the last run, of this process alone."""

    run: int
    phases: int
    seconds: float
    cpu_seconds: float
    memory: float
    files: int
    threads: int
    children: int
    objects: int


class EnduranceSession(ReliabilitySession):
    """Trains in this process; a record is made at once, and not gone on with."""

    table, head = "samples.csv", "run,phases,"

    def begin(self) -> int | None:
        """Check the folder, which must have no samples."""
        need(
            not (self.out / self.table).exists(),
            f"{self.out} holds samples of another time: choose another --out, or move them away",
        )
        return super().begin()

    def run(self, stop: Callable[[], bool]) -> Generator[None, None, None]:
        """Train, and take a sample after each run."""
        yield from endure(self.folder, self.out / self.table, self.given.phases, stop)

    def findings(self) -> list[str]:
        """What grew and what did not; it failed where something grew."""
        parts, self.failed = findings(self.out)
        return parts


def endure(folder: Path, samples: Path, phases: int, stop: Callable[[], bool]) -> Generator[None, None, None]:
    """Train at least so many phases in this process, recorded below `folder` as those of any study.

    Yields after each run, of which a sample is written.
    """
    jobs = runs(folder, phases)
    splits = load(jobs[0].spec)
    each = len(jobs[0].spec.phases())
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(field.name for field in fields(Sample))
    began, spent = time.perf_counter(), time.process_time()
    for number, row in enumerate(run_jobs(jobs, 1, splits, stop), start=1):
        need(row["status"] == "finished", f"run {number} did not end as it should: {row['status']}")
        seconds, cpu_seconds = round(time.perf_counter() - began, 3), round(time.process_time() - spent, 3)
        sample = Sample(number, number * each, seconds, cpu_seconds, *held())
        table.writerow(astuple(sample))
        write_atomically(samples, text.getvalue())
        say(f"{sample.phases}/{phases} phases: {sample}")
        yield
        began, spent = time.perf_counter(), time.process_time()


def runs(folder: Path, phases: int) -> list[Job]:
    """Runs of one spec with so many seeds that they have at least so many phases, each of which trains."""
    words = [*WORDS, "--out", str(folder / "record"), "--store", str(folder / "store")]
    given = options("endurance", parser("", "", (ARM,)).parse_args(words))
    spec = replace(given.base, policy=ARM, evaluation=replace(given.base.evaluation, every=5))
    seeds = range(-(-phases // len(spec.phases())))
    study, experiment, colours = f"endurance-{given.configuration}", experiment_name(spec), arm_colours([ARM])
    return [Job(replace(spec, seed=seed), ARM, study, experiment, colours[ARM], given, 1, (ARM,)) for seed in seeds]


def held() -> tuple[float, int, int, int, int]:
    """What this process holds now: resident memory in MB; open files, threads, living children, Python's objects.

    Nothing is collected for the occasion: garbage that waits for Python's own collector counts.
    """
    pages = int((PROC / "statm").read_text().split()[1])
    tasks = list((PROC / "task").iterdir())
    return (
        round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 3),
        len(os.listdir(PROC / "fd")) - 1,  # without the one that lists them
        len(tasks),
        sum(len((task / "children").read_text().split()) for task in tasks),
        len(gc.get_objects()),
    )


def more(command: argparse.ArgumentParser) -> None:
    """Options of this study."""
    command.add_argument("--phases", type=int, default=2000, metavar="N", help="how many to train, at least (2000)")


def check(given: argparse.Namespace) -> None:
    """Raise InputError for too few phases, and on systems that do not tell what a process holds."""
    whole(given.phases, "phases", LEAST)
    need(PROC.exists(), f"there is no {PROC} on this system, which tells of memory and open files: use Linux")


STUDY = ReliabilityStudy(
    name="endurance",
    title="One process, many runs",
    question=__doc__.splitlines()[0],
    protocol=(
        "Claim: over 2,000 phases, memory, open files, threads, child processes and Python's objects do not grow, nor does the "
        "time that a run takes."
    ),
    after_interruption="the samples so far are kept where --out was given",
    options=more,
    check=check,
    opened=EnduranceSession,
)
