"""Do memory, open files and run time stay constant in a process that trains many runs one after the other?

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
from studies.execution.job import Job
from studies.execution.pool import run_jobs
from studies.figures.style import arm_colours
from studies.record.names import experiment_name
from studies.reliability.endurance_report import findings
from studies.reliability.session import ReliabilitySession, ReliabilityStudy

ARM = "greedy+unfreeze"
#: Five stages of two kinds on digits: ten phases in each run, two updates each, with all parts of the record of a run.
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
#: The smallest number of phases for which a slope has an interval: three runs in the second half.
LEAST = 60


@dataclass(frozen=True)
class Sample:
    """The resources of this process after a run.

    run, phases: numbers so far. seconds, cpu_seconds: of the last run, in this process only. memory: resident memory in MB.
    files, threads, children, objects: numbers of open files, threads, child processes and Python objects.
    """

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
    """Trains in this process; a record is made in one session and cannot be continued."""

    table, head = "samples.csv", "run,phases,"

    def begin(self) -> int | None:
        """Check that the folder has no samples."""
        need(
            not (self.out / self.table).exists(),
            f"{self.out} holds samples of an earlier session: choose another --out, or move them away",
        )
        return super().begin()

    def run(self, stop: Callable[[], bool]) -> Generator[None, None, None]:
        """Train, and write a sample after each run."""
        yield from endure(self.folder, self.out / self.table, self.given.phases, stop)

    def findings(self) -> list[str]:
        """Write the figure and return the parts of the page; the study fails if a quantity grew."""
        parts, self.failed = findings(self.out)
        return parts


def endure(folder: Path, samples: Path, phases: int, stop: Callable[[], bool]) -> Generator[None, None, None]:
    """Train at least `phases` phases in this process, with the record and the store of a study in `folder`.

    Writes a sample to the file `samples` and yields after each run.
    """
    jobs = runs(folder, phases)
    splits = load(jobs[0].spec)
    each = len(jobs[0].spec.phases())
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(field.name for field in fields(Sample))
    started, cpu_started = time.perf_counter(), time.process_time()
    for number, row in enumerate(run_jobs(jobs, 1, splits, stop), start=1):
        need(row["status"] == "finished", f"run {number} did not finish: {row['status']}")
        seconds, cpu_seconds = round(time.perf_counter() - started, 3), round(time.process_time() - cpu_started, 3)
        sample = Sample(number, number * each, seconds, cpu_seconds, *process_resources())
        table.writerow(astuple(sample))
        write_atomically(samples, text.getvalue())
        say(f"{sample.phases}/{phases} phases: {sample}")
        yield
        started, cpu_started = time.perf_counter(), time.process_time()


def runs(folder: Path, phases: int) -> list[Job]:
    """Return jobs of one spec with different seeds that have at least `phases` phases together."""
    argv = [*WORDS, "--out", str(folder / "record"), "--store", str(folder / "store")]
    given = options("endurance", parser("", "", (ARM,)).parse_args(argv))
    spec = replace(given.base, policy=ARM, evaluation=replace(given.base.evaluation, every=5))
    seeds = range(-(-phases // len(spec.phases())))
    study, experiment = f"endurance-{given.configuration}", experiment_name(spec)
    tags = {"mlflow.runColor": arm_colours([ARM])[ARM]}
    return [Job(replace(spec, seed=seed), ARM, study, experiment, tags, given, 1, (ARM,)) for seed in seeds]


def process_resources() -> tuple[float, int, int, int, int]:
    """Return resident memory in MB, and the numbers of open files, threads, living child processes and Python objects.

    No garbage collection is forced; objects that wait for the collector count.
    """
    pages = int((PROC / "statm").read_text().split()[1])
    tasks = list((PROC / "task").iterdir())
    return (
        round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 3),
        len(os.listdir(PROC / "fd")) - 1,  # without the descriptor that listdir opens
        len(tasks),
        sum(len((task / "children").read_text().split()) for task in tasks),
        len(gc.get_objects()),
    )


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the options of this study."""
    command.add_argument(
        "--phases", type=int, default=2000, metavar="N", help="smallest number of phases to train (2000)"
    )


def check(given: argparse.Namespace) -> None:
    """Raise InputError for too few phases, and on systems without /proc."""
    whole(given.phases, "phases", LEAST)
    need(PROC.exists(), f"memory and open files cannot be measured on this system, which has no {PROC}: use Linux")


STUDY = ReliabilityStudy(
    name="endurance",
    title="Endurance: many runs in one process",
    question=__doc__.splitlines()[0],
    protocol=(
        "Claim: over 2,000 phases, memory, the numbers of open files, threads, child processes and Python objects, and the "
        "time of a run do not grow."
    ),
    after_interruption="with --out, the samples so far are saved",
    options=add_options,
    check=check,
    make_session=EnduranceSession,
)
